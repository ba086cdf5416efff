"""From tensors to the kernels of `triton_kernels`: what is launched where, on grids that depend on sizes only."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from adadsr.sparse.body import Attention
from adadsr.sparse.lists import Lists
from adadsr.sparse.triton_kernels import add_kernel, attention_kernel, conv_kernel, finish_kernel

INTERPRETED = not isinstance(conv_kernel, triton.JITFunction)
"""Whether TRITON_INTERPRET=1 was set when the kernels were made: they then run on the CPU, for tests."""
POINTWISE_ROWS = 32
"""Pixels that a program of a kernel without a product takes at a time."""
ATTENTION_NUMBERS = 8192
"""Numbers that the kernel of the channel attention adds up at once."""


class Weights(NamedTuple):
    """A conv as the kernels and cuDNN read it.

    weight: (out, in, 3, 3) in channels_last, which is (out, 3, 3, in) in memory, of the features' type. bias: (out,)
    float32.
    """

    weight: Tensor
    bias: Tensor


class Blocking(NamedTuple):
    """How `conv_kernel` cuts its work: pixels, output and input channels of a step; warps, and stages of its pipeline.

    resident: programs of one multiprocessor. cached: whether neighbours pass through the first-level cache.
    """

    rows: int
    width: int
    depth: int
    warps: int
    stages: int
    resident: int
    cached: bool


@dataclass(frozen=True)
class Sites:
    """Where the convs of a group's blocks run, in images of height x width pixels, and with which gates.

    side: pixels along a position, a tile or a pixel. depth_map: (N, G, h, w) float32, in blocks; None for a gate of 1.
    lists: the positions of each block; None for all. group: which of the G.
    """

    height: int
    width: int
    side: int
    depth_map: Tensor | None = None
    lists: Lists | None = None
    group: int = 0

    @property
    def columns(self) -> int:
        """Positions in a row of an image."""
        return -(-self.width // self.side)

    @property
    def positions(self) -> int:
        """Positions of an image."""
        return self.columns * -(-self.height // self.side)

    @property
    def groups(self) -> int:
        """Groups that the lists have."""
        return 1 if self.lists is None else self.lists.counts.shape[1]


class Epilogue(NamedTuple):
    """What follows a conv. relu: also makes the gate a mask. gated: multiply by the gate. add: add to what is there."""

    relu: bool = False
    gated: bool = False
    add: bool = False


def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a device; of the interpreter two, so that programs share the work."""
    return 2 if device.type == "cpu" else _multiprocessors(device)


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def programs(blocking: Blocking, images: Tensor) -> int:
    """Programs that share each image's positions: as many as run at once, but none that could never have work."""
    pixels = images.shape[2] * images.shape[3]
    return min(blocking.resident * multiprocessors(images.device), -(-pixels // blocking.rows))


def conv_at(
    source: Tensor,
    weights: Weights,
    out: Tensor,
    sites: Sites,
    block: int,
    blocking: Blocking,
    epilogue: Epilogue,
    *,
    precision: str,
    clear: bool = False,
    sums: Tensor | None = None,
) -> None:
    """out = [out +] [gate *] [relu](conv(source)) at the sites of a block. source, out: (N, C, H, W) channels_last.

    precision: of products of float32, "tf32" or "ieee". clear: what was listed for the block before, and is no more,
    becomes 0. sums: (N, programs, C) float32 for what each program adds up, see `programs`.
    """
    channels, kept = weights.weight.shape[:2]
    lists, nothing = sites.lists, weights.bias
    width, depth = min(blocking.width, _power(channels)), min(blocking.depth, _power(kept))
    grid = (programs(blocking, source), -(-channels // width), len(source))
    conv_kernel[grid](
        source, weights.weight, weights.bias, out, out, nothing if sites.depth_map is None else sites.depth_map,
        nothing if lists is None else lists.positions, nothing if lists is None else lists.counts,
        nothing if sums is None else sums, sites.height, sites.width, sites.columns, sites.positions, block,
        1 if lists is None else lists.counts.shape[2], sites.group, sites.groups,
        IN=kept, OUT=channels, SIDE=sites.side, LISTED=lists is not None, RELU=epilogue.relu, GATED=epilogue.gated,
        ADD=epilogue.add, SUMS=sums is not None, CLEAR=clear, PRECISION=precision,
        WIDEN=INTERPRETED and source.dtype == torch.bfloat16, CACHE=".ca" if blocking.cached else "",
        ROWS=blocking.rows, WIDTH=width, DEPTH=depth, num_warps=blocking.warps, num_stages=blocking.stages,
    )  # fmt: skip


def dense_conv(
    source: Tensor,
    weights: Weights,
    out: Tensor | None,
    sites: Sites,
    block: int,
    epilogue: Epilogue,
    sums: Tensor | None = None,
) -> Tensor:
    """The same at every pixel by torch's conv (cuDNN), where lists count for nothing. out: None for a new tensor."""
    result = F.conv2d(source, weights.weight, padding=1)
    if not result.is_contiguous(memory_format=torch.channels_last):
        result = result.contiguous(memory_format=torch.channels_last)
    out = result if out is None else out
    channels, nothing = len(weights.bias), weights.bias
    width = min(128, _power(channels))
    parts = -(-sites.height * sites.width // POINTWISE_ROWS) if sums is None else sums.shape[1]
    finish_kernel[(parts, -(-channels // width), len(source))](
        result, weights.bias, out, out, nothing if sites.depth_map is None else sites.depth_map,
        nothing if sums is None else sums, sites.height, sites.width, sites.columns, sites.positions, block,
        sites.group, sites.groups,
        OUT=channels, SIDE=sites.side, RELU=epilogue.relu, GATED=epilogue.gated, ADD=epilogue.add,
        SUMS=sums is not None, ROWS=POINTWISE_ROWS, WIDTH=width,
    )  # fmt: skip
    return out


def attention_scale(attention: Attention, sums: Tensor, pixels: int) -> Tensor:
    """Weight of each channel, (N, C) float32, from what programs added up, (N, programs, C). Deterministic."""
    batch, parts, channels = sums.shape
    scale, reduced = sums.new_empty(batch, channels), len(attention.squeeze.bias)
    attention_kernel[(batch,)](
        sums, attention.squeeze.weight, attention.squeeze.bias, attention.excite.weight, attention.excite.bias, scale,
        pixels, parts, C=channels, R=reduced, CHANNELS=triton.next_power_of_2(channels),
        REDUCED=triton.next_power_of_2(reduced), PARTS=max(1, ATTENTION_NUMBERS // triton.next_power_of_2(channels)),
    )  # fmt: skip
    return scale


def add_scaled(z: Tensor, update: Tensor, scale: Tensor, sites: Sites, block: int) -> None:
    """z += scale * update at the sites of a block. z, update: (N, C, H, W) channels_last. scale: (N, C) float32."""
    channels, lists = z.shape[1], sites.lists
    width, parts = min(128, _power(channels)), -(-sites.height * sites.width // POINTWISE_ROWS)
    grid = (min(parts, 8 * multiprocessors(z.device)), -(-channels // width), len(z))
    add_kernel[grid](
        z, update, scale, scale if lists is None else lists.positions, scale if lists is None else lists.counts,
        sites.height, sites.width, sites.columns, sites.positions, block,
        1 if lists is None else lists.counts.shape[2], sites.group, sites.groups,
        C=channels, SIDE=sites.side, LISTED=lists is not None, ROWS=POINTWISE_ROWS, WIDTH=width,
    )  # fmt: skip


def _power(channels: int) -> int:
    """The next power of two, at least 16: the least that a product takes."""
    return max(16, 1 << (channels - 1).bit_length())
