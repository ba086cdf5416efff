"""One step of depth, in the forms that networks use: weights, definition, reach and cost.

A gate weights the change that a block makes: at 0 its input passes unchanged, at 1 (or None) the block runs as in the
dense network.
"""

import math
from typing import NamedTuple, Protocol

from adadsr.graph.ops import Array, Ops

LEAKY_SLOPE = 0.2
"""Negative slope of LeakyReLU in ESRGAN."""
RESIDUAL_SCALE = 0.2
"""Factor of the updates of an ESRGAN block."""


class ConvWeights(NamedTuple):
    """A convolution: weight (out, in, k, k) and bias (out,)."""

    weight: Array
    bias: Array

    @property
    def macs(self) -> int:
        """Multiply-accumulates per output pixel."""
        return math.prod(self.weight.shape)

    @property
    def reach(self) -> int:
        """Pixels around an output pixel that it depends on."""
        return int(self.weight.shape[-1]) // 2

    def run(self, ops: Ops, x: Array, stride: int = 1) -> Array:
        """(N, in, H, W) -> (N, out, H, W); see `Ops.conv`."""
        return ops.conv(x, self.weight, self.bias, stride)


class Stage(NamedTuple):
    """Convs of a block that run at the same positions.

    macs: multiply-accumulates per pixel. dilation: pixels around the block's active set in which they run as well, if
    the depth map has one depth per pixel.
    """

    macs: int
    dilation: int


class Block(Protocol):
    """One step of depth."""

    @property
    def reach(self) -> int:
        """Pixels around an output pixel that it depends on, not counting attention."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The convs that run at the same positions, stage by stage."""

    @property
    def image_macs(self) -> int:
        """Multiply-accumulates per image that do not depend on positions; 0 unless a block sees the whole image."""

    def is_sparse(self, depth_tile: int) -> bool:
        """Whether it runs at active positions only; otherwise it runs everywhere while any position is active.

        depth_tile: side of the depth map's tiles. Above 1, the hidden features of a sparse block count as zero outside
        the active set.
        """

    def run(self, ops: Ops, x: Array, gate: Array | None = None, mask: Array | None = None) -> Array:
        """x: (N, C, H, W). gate: (N, 1, H, W) in [0, 1], None for 1. mask: of the hidden features, (N, 1, H, W)."""


class Attention(NamedTuple):
    """Channel attention: 1x1 convs C -> R and R -> C on the channels' means over the whole image."""

    squeeze: ConvWeights
    excite: ConvWeights

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""
        return self.squeeze.macs + self.excite.macs

    def scale(self, ops: Ops, mean: Array) -> Array:
        """Weight of each channel in (0, 1), from the channels' means over the whole image; (N, C) -> (N, C)."""
        mean = ops.cast(mean, self.squeeze.weight)
        squeezed = ops.relu(ops.linear(mean, *self.squeeze))
        return ops.sigmoid(ops.linear(squeezed, *self.excite))


class ResidualBlock(NamedTuple):
    """x + attention(gate * conv2(relu(conv1(x)))): the block of EDSR, and with attention that of RCAN."""

    conv1: ConvWeights
    conv2: ConvWeights
    attention: Attention | None = None

    def is_sparse(self, depth_tile: int) -> bool:
        return True

    @property
    def reach(self) -> int:
        return self.conv1.reach + self.conv2.reach

    @property
    def stages(self) -> tuple[Stage, ...]:
        return Stage(self.conv1.macs, self.conv2.reach), Stage(self.conv2.macs, 0)

    @property
    def image_macs(self) -> int:
        return 0 if self.attention is None else self.attention.macs

    def run(self, ops: Ops, x: Array, gate: Array | None = None, mask: Array | None = None) -> Array:
        hidden = ops.relu(self.conv1.run(ops, x))
        if mask is not None:
            hidden = hidden * mask
        update = self.conv2.run(ops, hidden)
        if gate is not None:
            update = ops.cast(update * gate, x)
        if self.attention is not None:
            scale = self.attention.scale(ops, ops.spatial_mean(update))
            update = update * ops.cast(scale, update)[..., None, None]
        return x + update


class ResidualDenseBlock(NamedTuple):
    """The residual-in-residual dense block (RRDB) of ESRGAN (arXiv:1809.00219, section 3.1).

    chains: three chains of five 3x3 convs. A conv sees the chain's input and the outputs of all earlier convs; all but
    the last are followed by LeakyReLU(0.2). Each chain, and the three together, are scaled by 0.2 and added to their
    input. Outside a mask the outputs of all convs count as zero, so that a chain leaves its input unchanged there.
    """

    chains: tuple[tuple[ConvWeights, ...], ...]

    def is_sparse(self, depth_tile: int) -> bool:
        # Single pixels would be dilated by up to 14 pixels, which leaves nothing out.
        return depth_tile > 1

    @property
    def _convs(self) -> list[ConvWeights]:
        return [conv for chain in self.chains for conv in chain]

    @property
    def reach(self) -> int:
        return sum(conv.reach for conv in self._convs)

    @property
    def stages(self) -> tuple[Stage, ...]:
        last = len(self._convs) - 1
        return tuple(Stage(conv.macs, last - number) for number, conv in enumerate(self._convs))

    @property
    def image_macs(self) -> int:
        return 0

    def run(self, ops: Ops, x: Array, gate: Array | None = None, mask: Array | None = None) -> Array:
        features = x
        for chain in self.chains:
            change = RESIDUAL_SCALE * self._run_chain(ops, chain, features, mask)
            features = features + (change if mask is None else change * mask)
        update = RESIDUAL_SCALE * features
        return x + (update if gate is None else ops.cast(update * gate, x))

    def _run_chain(self, ops: Ops, chain: tuple[ConvWeights, ...], x: Array, mask: Array | None) -> Array:
        *inner, last = chain
        seen = [x]
        for conv in inner:
            grown = ops.leaky_relu(conv.run(ops, ops.concatenate(seen)), LEAKY_SLOPE)
            seen.append(grown if mask is None else grown * mask)
        return last.run(ops, ops.concatenate(seen))


class PlainBlock(NamedTuple):
    """A 3x3 conv and PReLU with one slope per channel, without a skip: a step of SRVGGNetCompact.

    slope: (C,). At a gate of 0 the input passes unchanged.
    """

    conv: ConvWeights
    slope: Array

    def is_sparse(self, depth_tile: int) -> bool:
        return False

    @property
    def reach(self) -> int:
        return self.conv.reach

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage(self.conv.macs, 0),)

    @property
    def image_macs(self) -> int:
        return 0

    def run(self, ops: Ops, x: Array, gate: Array | None = None, mask: Array | None = None) -> Array:
        out = ops.prelu(self.conv.run(ops, x), self.slope)
        return out if gate is None else x + ops.cast((out - x) * gate, x)
