"""Pack bodies of chained convs, ESRGAN's and Compact's, and refuse what the engine cannot run of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adadsr.backends.native import _native
from adadsr.backends.native.chain_body import ChainStep, PackedChains
from adadsr.backends.native.checks import Arrays, checked
from adadsr.errors import BackendError
from adadsr.graph import BodyWeights, ConvWeights, PlainBlock, ResidualDenseBlock
from adadsr.graph.blocks import LEAKY_SLOPE, RESIDUAL_SCALE

CHANNEL_STEP = 16
"""A canvas pads its channels to a multiple of this."""


def padded(channels: int) -> int:
    """Channels of a canvas with their padding."""
    return -(-channels // CHANNEL_STEP) * CHANNEL_STEP


def pack_dense_blocks(body: BodyWeights, blocks: Sequence[ResidualDenseBlock], isa: str) -> PackedChains:
    """Pack a body of ESRGAN's blocks. Raises BackendError for convs that do not fit together."""
    first = blocks[0].chains[0][0]
    channels, growth = int(first.weight.shape[1]), len(first.bias)
    chains, inner = len(blocks[0].chains), max(len(chain) for block in blocks for chain in block.chains) - 1
    packer = _DensePacker(channels, growth, chains, isa)
    steps = tuple(step for number, block in enumerate(blocks) for step in packer.block(block, number))
    canvases = (channels,) * packer.first_grown + (growth,) * inner
    grown = tuple(range(packer.first_grown, len(canvases)))
    drops = (tuple(range(1, chains)), grown) if body.depth_tile > 1 else None
    exits = tuple(
        _native.TileWeights(*_sized(conv, f"the closing conv of exit {number}", channels, channels), isa)
        for number, conv in enumerate(body.exits)
    )
    return PackedChains(steps, len(blocks), _closing(body, channels, isa), canvases, drops, body.depth_tile, exits)


def pack_plain_blocks(body: BodyWeights, blocks: Sequence[PlainBlock], isa: str) -> PackedChains:
    """Pack a body of Compact's blocks. Raises BackendError unless all have the same number of channels."""
    channels, steps = len(blocks[0].conv.bias), []
    for number, block in enumerate(blocks):
        name = f"the conv of block {number}"
        arrays = _sized(block.conv, name, channels, channels)
        slopes = np.ascontiguousarray(block.slope)
        if slopes.shape != (channels,) or slopes.dtype != np.float32:
            raise BackendError(f"{name} has slopes {slopes.shape} of {slopes.dtype}, not ({channels},) of float32")
        weights = _native.TileWeights(*arrays, isa, slopes=slopes)
        steps.append(ChainStep(weights, block.conv.macs, number, number % 2, 1 - number % 2, True, True))
    if body.conv is not None:
        raise BackendError("the native engine runs Compact's blocks without a closing conv; choose another backend")
    canvases: tuple[int, ...] = (channels,) * 2
    if steps[-1].weights.is_bfloat16:
        # The two hold bfloat16 alone, and what is returned is float32.
        canvases = (channels,) * 3
        steps[-1] = steps[-1]._replace(out=2)
    return PackedChains(tuple(steps), len(blocks), None, canvases, None, body.depth_tile)


class _DensePacker(NamedTuple):
    """Packs ESRGAN's blocks of one form."""

    channels: int
    growth: int
    chains: int
    isa: str

    @property
    def first_grown(self) -> int:
        """The first of the canvases of what the convs of a chain grow, one for each conv but the last."""
        return max(self.chains, 2)

    def block(self, block: ResidualDenseBlock, number: int) -> list[ChainStep]:
        if len(block.chains) != self.chains:
            raise BackendError(f"block {number} has {len(block.chains)} chains, block 0 has {self.chains}")
        steps = [
            self._step(conv, number, chain, index, index == len(convs) - 1)
            for chain, convs in enumerate(block.chains)
            for index, conv in enumerate(convs)
        ]
        return [steps[0]._replace(starts=True), *steps[1:]]

    def _step(self, conv: ConvWeights, number: int, chain: int, index: int, is_last: bool) -> ChainStep:
        name = f"conv {index + 1} of chain {chain + 1} of block {number}"
        outputs = self.channels if is_last else self.growth
        weight, bias = _sized(conv, name, outputs, self.channels + index * self.growth)
        out = self.first_grown + index
        more = tuple(range(self.first_grown, out))
        if more:
            weight = _spread(weight, [self.channels, *[self.growth] * index])
        if not is_last:
            weights = _native.TileWeights(weight, bias, self.isa)
            return ChainStep(weights, conv.macs, number, chain, out, False, False, LEAKY_SLOPE, more)
        ends = chain == self.chains - 1
        scale = np.float32(RESIDUAL_SCALE**2 if ends else RESIDUAL_SCALE)
        weights = _native.TileWeights(weight * scale, bias * scale, self.isa)
        step = ChainStep(weights, conv.macs, number, chain, chain + 1, False, ends, more=more, plus=chain)
        # x + gate * 0.2 * (features + 0.2 * conv): the last chain adds to the block's input, in place.
        return step._replace(out=0, plus=0, also=chain, also_factor=RESIDUAL_SCALE) if ends else step


def _closing(body: BodyWeights, channels: int, isa: str) -> tuple[_native.TileWeights, int] | None:
    if body.conv is None:
        return None
    weights = _native.TileWeights(*_sized(body.conv, "the closing conv", channels, channels), isa)
    return weights, body.conv.macs


def _sized(conv: ConvWeights, name: str, outputs: int, inputs: int) -> Arrays:
    weight, bias = checked(conv, name)
    if weight.shape[:2] != (outputs, inputs):
        raise BackendError(f"{name} has weights {weight.shape}; the native engine needs ({outputs}, {inputs}, 3, 3)")
    return weight, bias


def _spread(weight: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """A weight whose input channels lie in several canvases: each part padded with zeros, as its pixels are."""
    parts = np.split(weight, np.cumsum(channels)[:-1], axis=1)
    padding = [padded(count) - count for count in channels]
    spread = [np.pad(part, ((0, 0), (0, more), (0, 0), (0, 0))) for part, more in zip(parts, padding, strict=True)]
    return np.ascontiguousarray(np.concatenate(spread, axis=1))
