"""Pack the weights of a network once, in the layout of the kernels, and refuse what the engine cannot run."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.chain_body import PackedChains
from adadsr.backends.native.chain_packing import pack_dense_blocks, pack_plain_blocks
from adadsr.backends.native.chain_tail import PackedChainTail, TailConv
from adadsr.backends.native.checks import checked
from adadsr.backends.native.nearest_folding import fold_nearest
from adadsr.backends.native.workspaces import TILE, Lease
from adadsr.backends.tail_folding import EDGE_CASES, INNER, fold_tail, is_foldable
from adadsr.errors import BackendError
from adadsr.geometry import Box
from adadsr.graph import (
    AdapterWeights,
    Attention,
    Block,
    BodyWeights,
    ConvWeights,
    GroupWeights,
    HeadWeights,
    NearestTail,
    NetworkWeights,
    PlainBlock,
    ResidualBlock,
    ResidualDenseBlock,
    ResidualTail,
)
from adadsr.graph.blocks import LEAKY_SLOPE
from adadsr.graph.parts import FULL_RANGE

AdapterConv = _native.TileWeights | _native.PixelWeights | _native.PatchWeights


class PackedConv(NamedTuple):
    """A conv in the layouts of both algorithms. macs: multiply-accumulates per pixel."""

    tiles: _native.TileWeights
    pixels: _native.PixelWeights | None
    macs: int


class PackedBlock(NamedTuple):
    """A packed `graph.ResidualBlock`."""

    conv1: PackedConv
    conv2: PackedConv
    attention: _native.Attention | None


class PackedGroup(NamedTuple):
    """A packed `graph.GroupWeights`."""

    blocks: tuple[PackedBlock, ...]
    conv: PackedConv | None


class PackedBody(NamedTuple):
    """A packed `graph.BodyWeights`. side: of the tiles of the depth map, 1 or TILE."""

    groups: tuple[PackedGroup, ...]
    conv: PackedConv
    side: int
    channels: int

    @property
    def attends(self) -> bool:
        """Whether any block has channel attention."""
        return any(block.attention is not None for group in self.groups for block in group.blocks)

    @property
    def closes(self) -> bool:
        """Whether any group has a closing conv."""
        return any(group.conv is not None for group in self.groups)

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        convs = [self.conv, *(group.conv for group in self.groups if group.conv is not None)]
        convs += [conv for group in self.groups for block in group.blocks for conv in (block.conv1, block.conv2)]
        return sum(weights.bytes for conv in convs for weights in (conv.tiles, conv.pixels) if weights is not None)


class PackedAdapter(NamedTuple):
    """A packed `graph.AdapterWeights`. convs: in order, with output channels and the slope of the following PReLU.

    Convs run as 4x4 tiles if there is one score per pixel, and directly if there is one per tile, a sixteenth. So no
    bit of a score depends on anything beyond `AdapterWeights.reach` pixels.
    """

    convs: tuple[tuple[AdapterConv, int, float], ...]
    tile: int
    in_channels: int
    input_times_depth: bool
    output_times_depth: bool

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        return sum(weights.bytes for weights, _, _ in self.convs)


class PackedTail(NamedTuple):
    """A packed `graph.ShuffleTail`, folded into one conv. outputs: channels of the SR image."""

    upsampling: list[_native.UpsamplingWeights]
    scale: int
    outputs: int

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        return sum(conv.bytes for conv in self.upsampling)

    def run(self, z: Lease, box: Box, threads: int) -> npt.NDArray[np.float32]:
        """The SR pixels of a rectangle of features, (N, s*h, s*w, outputs), in 0..255.

        No bit of a pixel depends on its rectangle.
        """
        out = np.empty((len(z.images), box.height * self.scale, box.width * self.scale, self.outputs), np.float32)
        _native.upsample(self.upsampling, z.canvas, out, box.top, box.left, threads)
        return out


def pack_head(head: HeadWeights, isa: str) -> _native.HeadWeights:
    """Pack a head, and the range of its input into the weights. Raises BackendError unless it is a 3x3 conv."""
    weight, bias = checked(head.conv, "the head's conv")
    mean = np.zeros(weight.shape[1], np.float32)
    if any(head.mean):
        mean[:] = head.mean
    slopes = None if head.slope is None else np.ascontiguousarray(head.slope, np.float32)
    return _native.HeadWeights(weight * np.float32(head.range / FULL_RANGE), bias, mean, isa, slopes)


def pack_adapter(adapter: AdapterWeights, isa: str) -> PackedAdapter:
    """Pack an adapter. Raises BackendError for convs that do not fit together."""
    side = 3 if adapter.tile == 1 else adapter.tile
    if adapter.tile > 1 and adapter.input_times_depth:
        raise BackendError("the native engine multiplies the input of an adapter for single pixels only")
    tiled = adapter.tile == 1
    first, other = (_native.TileWeights,) * 2 if tiled else (_native.PatchWeights, _native.PixelWeights)
    convs: list[AdapterConv] = [first(*checked(adapter.first, "the adapter's first conv", side), isa)]
    channels = [len(adapter.first.bias)]
    for number, each in enumerate(adapter.rest):
        convs.append(other(*checked(each.conv, f"conv {number + 1} of the adapter"), isa))
        if each.conv.weight.shape[1] != channels[-1] or each.slope.size != 1:
            raise BackendError(
                f"conv {number + 1} of the adapter takes {each.conv.weight.shape[1]} channels and {each.slope.size} "
                f"slopes; the native engine needs the {channels[-1]} before it and one slope"
            )
        channels.append(len(each.conv.bias))
    # A conv applies the PReLU that follows it; nothing follows the last one.
    slopes = [*(float(each.slope[0]) for each in adapter.rest), 1.0]
    packed = tuple(zip(convs, channels, slopes, strict=True))
    in_channels = int(adapter.first.weight.shape[1])
    return PackedAdapter(packed, adapter.tile, in_channels, adapter.input_times_depth, adapter.output_times_depth)


def pack_body(body: BodyWeights, isa: str) -> PackedBody | PackedChains:
    """Pack a body. Raises BackendError unless its blocks are all of a kind that the engine runs."""
    if body.depth_tile not in (1, TILE):
        raise BackendError(f"the native engine runs a depth_tile of 1 or {TILE}, not {body.depth_tile}")
    dense = [block for block in body.blocks if isinstance(block, ResidualDenseBlock)]
    plain = [block for block in body.blocks if isinstance(block, PlainBlock)]
    if len(body.groups) == 1 and body.groups[0].conv is None and len(body.blocks) in (len(dense), len(plain)):
        return pack_dense_blocks(body, dense, isa) if dense else pack_plain_blocks(body, plain, isa)
    if body.conv is None:
        raise BackendError(
            "the native engine runs only bodies that end in a 3x3 conv and a skip; choose another backend"
        )
    packer = _BodyPacker(len(body.conv.bias), body.depth_tile, isa)
    groups = tuple(packer.group(group, index) for index, group in enumerate(body.groups))
    return PackedBody(groups, packer.everywhere(body.conv, "the closing conv"), body.depth_tile, packer.channels)


class _BodyPacker:
    """Packs the parts of a body of one width."""

    def __init__(self, channels: int, side: int, isa: str) -> None:
        self.channels, self.side, self.isa = channels, side, isa

    def group(self, group: GroupWeights, index: int) -> PackedGroup:
        blocks = tuple(self.block(block, f"{number} of group {index}") for number, block in enumerate(group.blocks))
        conv = None if group.conv is None else self.everywhere(group.conv, f"the conv of group {index}")
        return PackedGroup(blocks, conv)

    def block(self, block: Block, name: str) -> PackedBlock:
        if not isinstance(block, ResidualBlock):
            raise BackendError(
                f"block {name} is a {type(block).__name__}; the native engine runs only residual blocks of two equal "
                "3x3 convs, or only ESRGAN's or Compact's; choose another backend"
            )
        conv1, conv2 = (self._conv(conv, f"a conv of block {name}") for conv in (block.conv1, block.conv2))
        attention = None if block.attention is None else self._attention(block.attention, name)
        return PackedBlock(conv1, conv2, attention)

    def everywhere(self, conv: ConvWeights, name: str) -> PackedConv:
        """A conv that runs at every pixel and so needs no weights for single pixels."""
        return PackedConv(_native.TileWeights(*self._square(conv, name), self.isa), None, conv.macs)

    def _conv(self, conv: ConvWeights, name: str) -> PackedConv:
        packed = self.everywhere(conv, name)
        if self.side > 1:
            return packed
        return packed._replace(pixels=_native.PixelWeights(*self._square(conv, name), self.isa))

    def _square(self, conv: ConvWeights, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        weight, bias = checked(conv, name)
        if weight.shape[:2] != (self.channels, self.channels):
            channels = self.channels
            raise BackendError(
                f"{name} has weights {weight.shape}; the native engine needs ({channels}, {channels}, 3, 3)"
            )
        return weight, bias

    def _attention(self, attention: Attention, name: str) -> _native.Attention:
        parts = [np.ascontiguousarray(part) for conv in attention for part in conv]
        if parts[0].shape[1] != self.channels or any(part.dtype != np.float32 for part in parts):
            raise BackendError(
                f"the channel attention of block {name} has weights {parts[0].shape} of {parts[0].dtype}; the native "
                f"engine needs 1x1 convs of {self.channels} channels in float32"
            )
        return _native.Attention(*parts)


def pack_tail(network: NetworkWeights, isa: str, last_isa: str) -> PackedTail | PackedChainTail:
    """Pack a tail, range and mean of its result included. Raises BackendError for a form that it cannot run.

    last_isa: of the conv that makes pixels.
    """
    tail, expand = network.tail, np.float32(FULL_RANGE / network.head.range)
    mean = np.array(network.head.mean, np.float32)
    if isinstance(tail, NearestTail):
        return _pack_nearest_tail(tail, expand, mean, isa, last_isa)
    if isinstance(tail, ResidualTail):
        weight, bias = checked(tail.conv, "the tail's conv")
        # The image that is added still has its mean.
        conv = TailConv(_native.TileWeights(weight * expand, bias * expand, last_isa), weight.shape[1], 1, 1.0)
        return PackedChainTail((conv,), tail.scale, len(bias) // tail.scale**2, adds_image=True)
    if not is_foldable(tail) or network.head.range != FULL_RANGE:
        raise BackendError(
            f"the tail of {network.kind} has another form than the native engine runs, convs with PixelShuffle and a "
            "last conv in 0..255; choose another backend"
        )
    for number, part in enumerate((*tail.convs, tail.last)):
        checked(part, f"conv {number + 1} of the tail")
    means = np.repeat(mean, tail.scale**2)
    upsampling = [
        _native.UpsamplingWeights(weight, bias + means, last_isa, tail.scale, split=number % len(EDGE_CASES) == INNER)
        for number, (weight, bias) in enumerate(fold_tail(tail))
    ]
    return PackedTail(upsampling, tail.scale, len(tail.last.bias))


def _pack_nearest_tail(
    tail: NearestTail, expand: np.float32, mean: npt.NDArray[np.float32], isa: str, last_isa: str
) -> PackedChainTail:
    """expand: what the result is multiplied by. mean: what is added to it then."""
    convs = []
    for number, (conv, factor) in enumerate(zip(tail.convs, tail.factors, strict=True)):
        weight, bias = checked(fold_nearest(conv, factor), f"conv {number + 1} of the tail")
        convs.append(TailConv(_native.TileWeights(weight, bias, isa, factor), weight.shape[1], factor, LEAKY_SLOPE))
    weight, bias = checked(tail.hidden, "the hidden conv of the tail")
    convs.append(TailConv(_native.TileWeights(weight, bias, isa), weight.shape[1], 1, LEAKY_SLOPE))
    weight, bias = checked(tail.last, "the last conv of the tail")
    bias = bias * expand + mean
    convs.append(TailConv(_native.TileWeights(weight * expand, bias, last_isa), weight.shape[1], 1, 1.0))
    return PackedChainTail(tuple(convs), 1, len(bias), adds_image=False)
