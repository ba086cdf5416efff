"""Body and tail as plain tensors: what a backend gets to run. Nothing here knows which network they came from."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from adadsr.sparse.depth import conv_positions


class Conv(NamedTuple):
    """A convolution with stride 1 that keeps height and width: weight (out, in, k, k) and bias (out,)."""

    weight: Tensor
    bias: Tensor


class Attention(NamedTuple):
    """Channel attention: 1x1 convs C -> R and R -> C on the channels' means over the whole image."""

    squeeze: Conv
    excite: Conv


class Block(NamedTuple):
    """x + attention(gate * conv2(relu(conv1(x))))."""

    conv1: Conv
    conv2: Conv
    attention: Attention | None


class Group(NamedTuple):
    """Blocks that share one map of depths; where `conv` is given, it and the skip from the group's input follow."""

    blocks: tuple[Block, ...]
    conv: Conv | None


class Body(NamedTuple):
    """Groups, a closing 3x3 conv, and the skip from z0.

    depth_tile: side of the tiles of the depth map. Above 1 both convs of a block share the mask gate > 0; with 1 the
    first conv runs on that mask dilated by 3x3.
    """

    groups: tuple[Group, ...]
    conv: Conv
    depth_tile: int

    @property
    def is_local(self) -> bool:
        """Whether a pixel depends on its neighbourhood only: one group, no attention over the whole image."""
        return len(self.groups) == 1 and all(block.attention is None for block in self.groups[0].blocks)

    def shallow(self, blocks: int) -> "Body":
        """The body without the blocks of each group after the first `blocks`."""
        return self._replace(groups=tuple(group._replace(blocks=group.blocks[:blocks]) for group in self.groups))


class Tail(NamedTuple):
    """3x3 convs, each followed by PixelShuffle with its factor, and a last 3x3 conv."""

    convs: tuple[Conv, ...]
    factors: tuple[int, ...]
    last: Conv


Tensors = TypeVar("Tensors", Body, Tail)


def in_type(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """A body or a tail with its tensors in another floating-point type."""

    def converted(part: object) -> object:
        if isinstance(part, Tensor):
            return part.to(dtype)
        if not isinstance(part, tuple):
            return part
        parts: list[Any] = [converted(item) for item in part]
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)

    return cast(Tensors, converted(tensors))


class BodyRun(NamedTuple):
    """What a backend returns: features z (N, C, H, W), and the multiply-accumulates of the convs that it ran.

    counted: the number, or what counts it: on a device that would wait for the features.
    """

    z: Tensor
    counted: int | Callable[[], int]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convs that ran."""
        return self.counted if isinstance(self.counted, int) else self.counted()


def body_macs(body: Body, depth_map: Tensor | None, batch: int, height: int, width: int) -> int:
    """Multiply-accumulates that `gather.run_gather` executes for a depth map, without running it.

    depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks; None is full depth.
    """
    pixels = batch * height * width
    total = pixels * body.conv.weight.numel()
    for index, group in enumerate(body.groups):
        n_blocks, first = len(group.blocks), group.blocks[0]
        if group.conv is not None:
            total += pixels * group.conv.weight.numel()
        if depth_map is None:
            positions, running = 2 * n_blocks * pixels, n_blocks
        else:
            depth = depth_map[:, index : index + 1]
            positions = conv_positions(depth, body.depth_tile, n_blocks, height, width)
            running = int(depth.amax().ceil().clamp(0, n_blocks))
        total += positions * first.conv1.weight.numel()
        if first.attention is not None:
            total += batch * running * 2 * first.attention.squeeze.weight.numel()
    return total
