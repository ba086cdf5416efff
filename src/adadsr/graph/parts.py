"""Head, adapter, body and tail of a network: weights, definition, reach and cost."""

import math
from typing import NamedTuple, Protocol

from adadsr.graph import depth
from adadsr.graph.blocks import LEAKY_SLOPE, Block, ConvWeights
from adadsr.graph.ops import Array, Ops

FULL_RANGE = 255.0
"""Largest value of an image."""


class HeadWeights(NamedTuple):
    """From an image to features: one conv, and a PReLU if `slope` (C,) is given.

    mean: RGB in 0..255, subtracted from the image. range: value that 255 is scaled to. A conv of 3 * u * u channels
    sees squares of u x u pixels as one pixel.
    """

    conv: ConvWeights
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    range: float = FULL_RANGE
    slope: Array | None = None

    def run(self, ops: Ops, lr: Array) -> Array:
        """(N, 3 * u * u, H, W) in 0..255 -> z0, (N, C, H, W)."""
        z0 = self.conv.run(ops, self.normalise(ops, lr))
        return z0 if self.slope is None else ops.prelu(z0, self.slope)

    def normalise(self, ops: Ops, lr: Array) -> Array:
        """The input of the conv: the image without the mean, in the head's range."""
        x = lr - ops.per_channel(lr, self.mean) if any(self.mean) else lr
        return x if self.range == FULL_RANGE else x * (self.range / FULL_RANGE)

    def denormalise(self, ops: Ops, sr: Array) -> Array:
        """The output of a tail, (N, 3, h, w), in 0..255."""
        sr = sr if self.range == FULL_RANGE else sr * (FULL_RANGE / self.range)
        return sr + ops.per_channel(sr, self.mean) if any(self.mean) else sr

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates on an image."""
        return height * width * self.conv.macs


class PReLUConv(NamedTuple):
    """PReLU with one slope, (1,), then a 3x3 conv."""

    slope: Array
    conv: ConvWeights


class AdapterWeights(NamedTuple):
    """From features and a desired depth to scores, which `calibration` turns into depths.

    first: a 3x3 conv, or if `tile` is above 1, a conv of tile x tile pixels with that stride.
    input_times_depth, output_times_depth: whether the desired depth multiplies input or output.
    """

    first: ConvWeights
    rest: tuple[PReLUConv, ...]
    tile: int = 1
    input_times_depth: bool = False
    output_times_depth: bool = False

    @property
    def uses_depth(self) -> bool:
        """Whether the scores depend on the desired depth; otherwise one pass serves every depth."""
        return self.input_times_depth or self.output_times_depth

    @property
    def predicts_errors(self) -> bool:
        """Whether the scores of a tile predict its error after each number of blocks (`calibration.ErrorDepths`).

        Otherwise they are depths, as published.
        """
        return self.tile > 1

    @property
    def n_scores(self) -> int:
        """Scores of a position, K: one per depth from 0 to full depth, or one per group of blocks."""
        return len(self.rest[-1].conv.bias)

    @property
    def reach(self) -> int:
        """Receptive field of a score, in pixels around its 4x4 tile of the image.

        An engine may run convs as 4x4 tiles, each of which sees all adjacent tiles: with one depth per pixel, every
        conv then adds a tile.
        """
        steps = len(self.rest)
        return self.tile * steps if self.tile > 1 else 4 * steps + 1

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates on an image."""
        positions = -(-height // self.tile) * -(-width // self.tile)
        return positions * (self.first.macs + sum(each.conv.macs for each in self.rest))

    def run(self, ops: Ops, z0: Array, desired_depth: Array) -> Array:
        """Scores (N, K, ceil(H/t), ceil(W/t)), any real number.

        z0: (N, C, H, W). desired_depth: (N,), in blocks.
        """
        per_image = ops.per_image(z0, desired_depth)
        x = z0 * per_image if self.input_times_depth else z0
        if self.tile > 1:
            # Tiles that overhang the border see it repeated: zeros would look like an edge.
            x = ops.pad_edge(x, -x.shape[-2] % self.tile, -x.shape[-1] % self.tile)
        x = self.first.run(ops, x, stride=self.tile)
        for each in self.rest:
            x = each.conv.run(ops, ops.prelu(x, each.slope))
        return x * per_image if self.output_times_depth else x


class GroupWeights(NamedTuple):
    """Blocks that share one depth map; if `conv` is given, it and a skip from the group's input follow."""

    blocks: tuple[Block, ...]
    conv: ConvWeights | None = None


class BodyWeights(NamedTuple):
    """Groups; if `conv` is given, it and a skip from z0 follow.

    depth_tile: side of the depth map's tiles in pixels; 1 for one depth per pixel.
    """

    groups: tuple[GroupWeights, ...]
    conv: ConvWeights | None
    depth_tile: int = 1

    @property
    def n_blocks(self) -> int:
        """The largest depth: blocks of the longest group."""
        return max(len(group.blocks) for group in self.groups)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of all groups in order."""
        return tuple(block for group in self.groups for block in group.blocks)

    @property
    def attends(self) -> bool:
        """Whether blocks depend on means over the whole image."""
        return any(block.image_macs for block in self.blocks)

    @property
    def is_local(self) -> bool:
        """Whether every pixel depends only on its surroundings: one group, no attention over the whole image."""
        return len(self.groups) == 1 and not self.attends

    @property
    def closing_reach(self) -> int:
        """Pixels around an output pixel that it depends on after the last block."""
        return 0 if self.conv is None else self.conv.reach

    def shallow(self, n_blocks: int) -> "BodyWeights":
        """The body with only the first `n_blocks` blocks of each group."""
        return self._replace(groups=tuple(group._replace(blocks=group.blocks[:n_blocks]) for group in self.groups))

    def run(self, ops: Ops, z0: Array, depth_map: Array | None = None) -> Array:
        """Run all groups and blocks everywhere, times their gates: the definition that engines are tested against.

        z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for full depth. Returns (N, C, H, W).
        """
        if depth_map is not None:
            depth_map = ops.expand_tiles(depth_map, self.depth_tile, *z0.shape[-2:])
        z = z0
        for index, group in enumerate(self.groups):
            start = z
            for number, block in enumerate(group.blocks):
                gate = mask = None
                if depth_map is not None:
                    gate = depth.gate(depth_map[:, index : index + 1], number)
                    mask = gate > 0 if self.depth_tile > 1 and block.is_sparse(self.depth_tile) else None
                z = block.run(ops, z, gate, mask)
            if group.conv is not None:
                z = group.conv.run(ops, z) + start
        return z if self.conv is None else self.conv.run(ops, z) + z0


class TailWeights(Protocol):
    """From features to the SR image."""

    @property
    def scale(self) -> int:
        """Scale factor of height and width."""

    @property
    def reach(self) -> int:
        """LR pixels around an LR pixel on which its SR pixels depend."""

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates on an image of height x width LR pixels."""

    def run(self, ops: Ops, z: Array, x: Array) -> Array:
        """z: (N, C, H, W). x: the LR image, (N, 3, H, W), from `HeadWeights.normalise`.

        Returns (N, 3, s*H, s*W) in the head's range.
        """


class ShuffleTail(NamedTuple):
    """3x3 convs, each followed by PixelShuffle with its factor, and a last 3x3 conv: the tail of EDSR and RCAN."""

    convs: tuple[ConvWeights, ...]
    factors: tuple[int, ...]
    last: ConvWeights

    @property
    def scale(self) -> int:
        return math.prod(self.factors)

    @property
    def reach(self) -> int:
        reach = self.last.reach
        for conv, factor in zip(reversed(self.convs), reversed(self.factors), strict=True):
            reach = -(-reach // factor) + conv.reach
        return reach

    def macs(self, height: int, width: int) -> int:
        pixels, total = height * width, 0
        for conv, factor in zip(self.convs, self.factors, strict=True):
            total += pixels * conv.macs
            pixels *= factor**2
        return total + pixels * self.last.macs

    def run(self, ops: Ops, z: Array, x: Array) -> Array:
        for conv, factor in zip(self.convs, self.factors, strict=True):
            z = ops.pixel_shuffle(conv.run(ops, z), factor)
        return self.last.run(ops, z)


class NearestTail(NamedTuple):
    """Nearest-neighbour upsampling before each of `convs`, then `hidden` and `last`: the tail of ESRGAN.

    LeakyReLU(0.2) follows every conv but the last.
    """

    convs: tuple[ConvWeights, ...]
    factors: tuple[int, ...]
    hidden: ConvWeights
    last: ConvWeights

    @property
    def scale(self) -> int:
        return math.prod(self.factors)

    @property
    def reach(self) -> int:
        reach = self.hidden.reach + self.last.reach
        for conv, factor in zip(reversed(self.convs), reversed(self.factors), strict=True):
            reach = -(-(reach + conv.reach) // factor)
        return reach

    def macs(self, height: int, width: int) -> int:
        pixels, total = height * width, 0
        for conv, factor in zip(self.convs, self.factors, strict=True):
            pixels *= factor**2
            total += pixels * conv.macs
        return total + pixels * (self.hidden.macs + self.last.macs)

    def run(self, ops: Ops, z: Array, x: Array) -> Array:
        return self.last.run(ops, self.run_hidden(ops, z))

    def run_hidden(self, ops: Ops, z: Array) -> Array:
        """All but the last conv: (N, C, H, W) -> (N, C, s*H, s*W)."""
        for conv, factor in zip(self.convs, self.factors, strict=True):
            z = ops.leaky_relu(conv.run(ops, ops.upsample(z, factor)), LEAKY_SLOPE)
        return ops.leaky_relu(self.hidden.run(ops, z), LEAKY_SLOPE)


class ResidualTail(NamedTuple):
    """A 3x3 conv and PixelShuffle, added to the image upsampled by nearest neighbour: the tail of SRVGGNetCompact."""

    conv: ConvWeights
    scale: int

    @property
    def reach(self) -> int:
        return self.conv.reach

    def macs(self, height: int, width: int) -> int:
        return height * width * self.conv.macs

    def run(self, ops: Ops, z: Array, x: Array) -> Array:
        return ops.pixel_shuffle(self.conv.run(ops, z), self.scale) + ops.upsample(x, self.scale)
