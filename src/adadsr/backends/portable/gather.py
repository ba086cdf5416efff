"""The sparse body in plain torch: gather the active positions, multiply, scatter back.

Features are rows of channels in a buffer with a border of zeros, (N * (H' + 2) * (W' + 2), C), with H' and W' rounded
up to whole tiles. A position is a tile of `side` x `side` pixels, or a pixel if `side` is 1. It is identified by its
corner: the buffer row of the top left pixel of its window, which is the tile and one pixel around it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.backends.engine import Progress, no_progress
from adadsr.geometry import Box
from adadsr.graph import Attention, Block, BodyWeights, ConvWeights, GroupWeights, ResidualBlock, ResidualDenseBlock
from adadsr.graph.blocks import LEAKY_SLOPE, RESIDUAL_SCALE
from adadsr.graph.depth import gate
from adadsr.tensor_ops import OPS

CHUNK_PIXELS = 4096
"""Pixels whose windows are gathered at once, few enough to stay in cache."""


class GatherRun(NamedTuple):
    """z: features (N, C, H, W). macs: executed multiply-accumulates. means: of attention, see `run_gather`."""

    z: Tensor
    macs: int
    means: Tensor


def run_gather(
    body: BodyWeights,
    z0: Tensor,
    depth_map: Tensor | None = None,
    progress: Progress = no_progress,
    means: Tensor | None = None,
) -> GatherRun:
    """`BodyWeights.run`, evaluated at active positions only. Not differentiable.

    Residual blocks of 3x3 convs run at their active positions, and so do ESRGAN's at tiles; other blocks run everywhere
    while any position is active, as in the definition. z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in
    blocks; None runs every block densely. progress: called with the fraction of blocks that are done. means: for
    channel attention, (blocks, N, C) float32; None for those of the image.
    """
    blocks = sum(len(group.blocks) for group in body.groups)
    canvas = _Canvas(z0, body.depth_tile, blocks, means, lambda done: progress(done / blocks))
    for index, group in enumerate(body.groups):
        start = None if group.conv is None else canvas.image.clone()
        _run_group(canvas, group, None if depth_map is None else depth_map[:, index : index + 1])
        canvas.earlier_blocks += len(group.blocks)
        if group.conv is not None and start is not None:
            canvas.image.copy_(canvas.dense_conv(group.conv) + start)
    z = canvas.image.clone() if body.conv is None else canvas.dense_conv(body.conv) + z0
    return GatherRun(z, canvas.macs, canvas.means)


def _run_group(canvas: "_Canvas", group: GroupWeights, depth_map: Tensor | None) -> None:
    """Run the blocks of one group. depth_map: (N, 1, h, w), one depth per position; None for full depth."""
    if depth_map is None:
        for number, block in enumerate(group.blocks):
            canvas.block = canvas.earlier_blocks + number
            canvas.dense_block(block, None, canvas.whole)
        return
    depths = depth_map.flatten()
    reach = F.max_pool2d(depth_map, 3, 1, 1).flatten() if canvas.side == 1 else depths
    for number, block in enumerate(group.blocks):
        active = torch.nonzero(depths > number).flatten()
        if not len(active):
            return
        canvas.block = canvas.earlier_blocks + number
        box = canvas.filled_box(active)
        if isinstance(block, ResidualDenseBlock) and block.is_sparse(canvas.side) and box is None:
            canvas.sparse_chains(block, active, gate(depths[active], number))
        elif not isinstance(block, ResidualBlock):
            canvas.dense_block(block, canvas.gates(gate(depth_map, number)), canvas.whole)
        elif box is not None:
            canvas.dense_block(block, box.of(canvas.gates(gate(depth_map, number))), box)
        else:
            first = active if canvas.side > 1 else torch.nonzero(reach > number).flatten()
            canvas.sparse_block(block, first, active, gate(depths[active], number))


class _Canvas:
    """The buffers of a run over a batch, the index arithmetic of their rows, and a count of multiply-accumulates.

    means: of channel attention, (blocks, N, C). block: index of the one that runs.
    """

    def __init__(
        self, z0: Tensor, side: int, blocks: int, means: Tensor | None, progress: Callable[[int], None]
    ) -> None:
        """means: see `run_gather`. progress: called with the number of blocks that are done."""
        self.side, self.macs, self.blocks_done, self.progress = side, 0, 0, progress
        self.block, self.earlier_blocks = 0, 0
        self.batch, self.channels, self.height, self.width = z0.shape
        self.whole = Box(0, 0, self.height, self.width)
        self.grid = (-(-self.height // side), -(-self.width // side))
        self.rows, self.columns = (count * side + 2 for count in self.grid)
        self.z, self.hidden = (z0.new_zeros(self.batch * self.rows * self.columns, self.channels) for _ in range(2))
        self.sum_type = torch.promote_types(z0.dtype, torch.float32)  # sums over an image leave the range of float16
        self.means_given = means is not None
        own = z0.new_zeros(blocks, self.batch, self.channels, dtype=self.sum_type)
        self.means = own if means is None else means.to(self.sum_type)
        self.image = self._view(self.z, self.whole)
        self.image.copy_(z0)
        self.inside = z0.new_zeros(len(self.z), 1)
        self._view(self.inside, self.whole).fill_(1)
        images = torch.arange(self.batch, device=z0.device) * (self.rows * self.columns)
        tops, lefts = (torch.arange(count, device=z0.device) * side for count in self.grid)
        self.corners = (images[:, None, None] + tops[:, None] * self.columns + lefts).flatten()

    def _view(self, buffer: Tensor, box: Box) -> Tensor:
        """View of a part of the image in a buffer, (N, C, h, w); it may include one pixel around the image."""
        planes = buffer.view(self.batch, self.rows, self.columns, -1).permute(0, 3, 1, 2)
        part: Tensor = box.relative_to(Box(-1, -1, 0, 0)).of(planes)
        return part

    def _square(self, first: int, size: int) -> Tensor:
        """Offsets from a corner to the buffer rows of a square of `size` pixels, `first` pixels further in."""
        steps = torch.arange(first, first + size, device=self.z.device)
        return (steps[:, None] * self.columns + steps).flatten()

    def _pixels(self, positions: Tensor) -> Tensor:
        """Buffer rows of the pixels of positions: (n,) -> (n * side * side,)."""
        return (self.corners[positions][:, None] + self._square(1, self.side)).flatten()

    def gates(self, gates: Tensor) -> Tensor:
        """Gates of positions, (N, 1, h, w), at every pixel: (N, 1, H, W)."""
        expanded: Tensor = OPS.expand_tiles(gates, self.side, self.height, self.width)
        return expanded

    def filled_box(self, positions: Tensor) -> Box | None:
        """The rectangle of pixels that sorted positions fill without a gap; None if they do not.

        Tiles form a rectangle only if all are active: others would have to exclude pixels that overhang the border.
        """
        if len(positions) == len(self.corners):
            return self.whole
        if self.side > 1 or self.batch > 1:
            return None
        rows, columns = positions // self.width, positions % self.width
        box = Box(int(rows[0]), int(columns.min()), int(rows[-1]) + 1, int(columns.max()) + 1)
        return box if box.height * box.width == len(positions) else None

    def dense_conv(self, conv: ConvWeights) -> Tensor:
        """A conv of the image at every pixel."""
        self.macs += self.batch * self.height * self.width * conv.macs
        result: Tensor = conv.run(OPS, self.image)
        return result

    def dense_block(self, block: Block, weight: Tensor | None, box: Box) -> None:
        """Run a block that is active everywhere in `box` and nowhere else. weight: gate, (N, 1, h, w); None for 1.

        For blocks that are not residual, `box` is the whole image.
        """
        if isinstance(block, ResidualBlock):
            self._dense_residual(block, weight, box)
        else:
            self.macs += self.batch * self.height * self.width * sum(stage.macs for stage in block.stages)
            self.image.copy_(block.run(OPS, self.image, weight))
        self._block_done()

    def _dense_residual(self, block: ResidualBlock, weight: Tensor | None, box: Box) -> None:
        first = box.grown(1, self.whole)
        self._view(self.hidden, first).copy_(F.relu(self._conv_in(self.z, first, block.conv1)))
        update = self._conv_in(self.hidden, box, block.conv2)
        if weight is not None:
            update = (update * weight).to(self.z.dtype)
        if block.attention is not None:
            total = update.sum(dim=(2, 3), dtype=self.sum_type)
            update = update * self._attention(block.attention, total)[..., None, None]
        self._view(self.z, box).add_(update)
        if self.side > 1:
            self.hidden.zero_()

    def _conv_in(self, source: Tensor, box: Box, weights: ConvWeights) -> Tensor:
        """A conv at the pixels of a rectangle: (N, C', h, w)."""
        self.macs += self.batch * box.height * box.width * weights.macs
        window = self._view(source, Box(box.top - 1, box.left - 1, box.bottom + 1, box.right + 1))
        return F.conv2d(window, weights.weight, weights.bias)

    def sparse_block(self, block: ResidualBlock, first: Tensor, active: Tensor, weight: Tensor) -> None:
        """Run a block: its first conv at `first`, its second at `active`, with gates `weight`."""
        for positions in self._chunks(first):
            rows = self._pixels(positions)
            self.hidden[rows] = F.relu(self._conv_at(self.z, positions, block.conv1)) * self.inside[rows]
        updates = []
        for positions, weights in zip(self._chunks(active), self._chunks(weight), strict=True):
            update = self._conv_at(self.hidden, positions, block.conv2)
            updates.append((update * weights.repeat_interleave(self.side**2)[:, None]).to(self.z.dtype))
        rows, update = self._pixels(active), torch.cat(updates)
        update *= self.inside[rows]
        if block.attention is not None:
            image_of = rows // (self.rows * self.columns)
            total = update.new_zeros(self.batch, self.channels, dtype=self.sum_type)
            total.index_add_(0, image_of, update.to(self.sum_type))
            update *= self._attention(block.attention, total)[image_of]
        self.z.index_add_(0, rows, update)
        if self.side > 1:
            # Outside its mask a tile's hidden features count as zero, also for the next block's neighbours.
            self.hidden[self._pixels(first)] = 0
        self._block_done()

    def sparse_chains(self, block: ResidualDenseBlock, active: Tensor, weight: Tensor) -> None:
        """Run an ESRGAN block at active tiles, with gates `weight`; elsewhere the outputs of its convs are zero."""
        rows = self._pixels(active)
        inside, features = self.inside[rows], self.z.clone()
        for *inner, last in block.chains:
            growth = sum(len(conv.bias) for conv in inner)
            seen, known = F.pad(features, (0, growth)), self.channels
            for conv in inner:
                made = F.leaky_relu(self._conv_in_chunks(seen[:, :known], active, conv), LEAKY_SLOPE)
                seen[rows, known : known + len(conv.bias)] = made * inside
                known += len(conv.bias)
            features.index_add_(0, rows, RESIDUAL_SCALE * self._conv_in_chunks(seen, active, last) * inside)
        update = features[rows] * RESIDUAL_SCALE * weight.repeat_interleave(self.side**2)[:, None]
        self.z.index_add_(0, rows, (update * inside).to(self.z.dtype))
        self._block_done()

    def _conv_in_chunks(self, source: Tensor, positions: Tensor, weights: ConvWeights) -> Tensor:
        return torch.cat([self._conv_at(source, each, weights) for each in self._chunks(positions)])

    def _block_done(self) -> None:
        self.blocks_done += 1
        self.progress(self.blocks_done)

    def _chunks(self, entries: Tensor) -> Iterator[Tensor]:
        return iter(torch.split(entries, max(1, CHUNK_PIXELS // self.side**2)))

    def _conv_at(self, source: Tensor, positions: Tensor, weights: ConvWeights) -> Tensor:
        """A conv at the pixels of positions: rows of C' channels, (n * side * side, C')."""
        self.macs += len(positions) * self.side**2 * weights.macs
        corners, out_channels = self.corners[positions], len(weights.bias)
        if self.side == 1:
            taps = weights.weight.permute(2, 3, 1, 0).flatten(0, 1)
            out: Tensor = weights.bias.expand(len(corners), -1).clone()
            for offset, tap in zip(self._square(0, 3), taps, strict=True):
                out.addmm_(source.index_select(0, corners + offset), tap)
            return out
        size = self.side + 2
        rows = (corners[:, None] + self._square(0, size)).flatten()
        windows = source.index_select(0, rows).view(-1, size, size, source.shape[1]).permute(0, 3, 1, 2)
        return F.conv2d(windows, weights.weight, weights.bias).permute(0, 2, 3, 1).reshape(-1, out_channels)

    def _attention(self, attention: Attention, total: Tensor) -> Tensor:
        """Weight of each channel, (N, C), from the channels' sums, in which inactive pixels count as zero."""
        self.macs += self.batch * attention.macs
        if not self.means_given:
            self.means[self.block] = total / (self.height * self.width)
        scale: Tensor = attention.scale(OPS, self.means[self.block])
        return scale
