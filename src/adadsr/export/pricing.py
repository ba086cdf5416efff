"""Price of a depth map inside a graph, as `upscaler.plan.budgets` has it: the share of the dense network's cost."""

from typing import NamedTuple

from adadsr.errors import ExportError
from adadsr.export.framing import FrameSize
from adadsr.export.pixels import dilated
from adadsr.export.values import DOUBLE, INDEX, Value
from adadsr.graph import Block, NetworkWeights


class BlockCost(NamedTuple):
    """Multiply-accumulates of a block: per pixel of its active set, per pixel of that set dilated by 3x3, per image."""

    pixel_macs: int
    dilated_macs: int
    image_macs: int

    @classmethod
    def of(cls, blocks: tuple[Block, ...]) -> "BlockCost":
        """That of every block of a group. Raises ExportError if they differ."""
        costs = {cls._one(block) for block in blocks}
        if len(costs) > 1:
            raise ExportError(f"blocks of {len(costs)} costs in one group cannot be exported; they must be equal")
        return costs.pop()

    @classmethod
    def _one(cls, block: Block) -> "BlockCost":
        own, dilated = (sum(stage.macs for stage in block.stages if stage.dilation == reach) for reach in (0, 1))
        return cls(own, dilated, block.image_macs)

    @property
    def dense_macs(self) -> int:
        """Per pixel where all pixels are active."""
        return self.pixel_macs + self.dilated_macs


class FramePrice:
    """What depth maps of one image cost; maps are (1, G, h, w) of INDEX, without the frame's border.

    Attributes:
        dense: Multiply-accumulates of the dense network, a scalar of DOUBLE.
        body: Those of its body.
    """

    def __init__(self, network: NetworkWeights, frame: FrameSize, adapter_macs: Value) -> None:
        """adapter_macs: of the image, DOUBLE."""
        self._network, self._frame = network, frame
        self._costs = [BlockCost.of(group.blocks) for group in network.body.groups]
        self._tile = network.depth_tile
        self._repeats = self._border_tiles(frame)
        height, width = (side.cast(DOUBLE) for side in frame.size)
        self._pixels = height * width
        convs = [group.conv for group in network.body.groups] + [network.body.conv]
        closing = self._pixels * sum(conv.macs for conv in convs if conv is not None)
        others = self._pixels * network.head.macs(1, 1) + self._tail_macs(frame)
        blocks = self._per_group("dense_macs").sum() * network.n_blocks
        images = self._per_group("image_macs").sum() * network.n_blocks
        self.body = closing + self._pixels * blocks + images
        self.dense = others + self.body
        self._fixed = others + closing + adapter_macs

    def share(self, depths: Value) -> Value:
        """Cost of a map as a share of the dense network's; a scalar of DOUBLE."""
        sparse = self._tile_macs(depths) if self._tile > 1 else self._pixel_macs(depths)
        per_image = depths.max(0, 2, 3).cast(DOUBLE) * self._per_group("image_macs")
        share: Value = (self._fixed + (sparse + per_image).sum()) / self.dense
        return share

    def _tile_macs(self, depths: Value) -> Value:
        """Of the blocks of each group, (G,) of DOUBLE; all convs of a block run at the same tiles."""
        positions = (depths * self._repeats).sum(0, 2, 3).cast(DOUBLE) * self._tile**2
        tiles = self._repeats.sum().cast(DOUBLE)
        # Blocks that are active everywhere run densely, so tiles that overhang the frame do not count whole.
        saved = (tiles * self._tile**2 - self._pixels) * depths.min(0, 2, 3).cast(DOUBLE)
        macs: Value = (positions - saved) * self._per_group("dense_macs")
        return macs

    def _pixel_macs(self, depths: Value) -> Value:
        """The same with one depth per pixel."""
        own = (depths * self._repeats).sum(0, 2, 3).cast(DOUBLE)
        around = dilated(self._frame.extended_map(depths, self._tile)).sum(0, 2, 3).cast(DOUBLE)
        macs: Value = own * self._per_group("pixel_macs") + around * self._per_group("dilated_macs")
        return macs

    def _per_group(self, part: str) -> Value:
        """A cost of a block of each group, (G,) of DOUBLE."""
        return self._repeats.nodes.constant([getattr(cost, part) for cost in self._costs], DOUBLE)

    def _tail_macs(self, frame: FrameSize) -> Value:
        """The tail enlarges the image only, with the surroundings that its convs read."""
        context = 2 * min(self._network.tail.reach, frame.border)
        height, width = ((side + context).cast(DOUBLE) for side in (frame.height, frame.width))
        macs: Value = height * width * self._network.tail.macs(1, 1)
        return macs

    def _border_tiles(self, frame: FrameSize) -> Value:
        """How many tiles of the frame have the depth of each tile of the image, (h, w): the border repeats its edge."""
        extra = frame.border // self._tile
        rows, columns = (_edge_repeats(side, extra) for side in frame.map_size(self._tile))
        return rows.unsqueeze(1) * columns


def _edge_repeats(side: Value, extra: int) -> Value:
    number = side.nodes.count(side)
    is_first, is_last = (number < 1).cast(INDEX), (number >= side - 1).cast(INDEX)
    return (is_first + is_last) * extra + 1
