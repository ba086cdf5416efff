"""From tensors to the kernels of `kernels`, on grids that depend on sizes only, and the configs of the conv kernel.

Convs are `graph.ConvWeights` as `body.pack_body` makes them: weight (out, in, 3, 3) in channels_last, which is
(out, 3, 3, in) in memory, of the features' type; bias (out,) float32. Features are (N, C, H, W) in channels_last.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from adadsr.backends.gpu.autotune import Autotuner, Benchmark, TunedConfig, time_on_device
from adadsr.backends.gpu.kernels import add_kernel, attention_kernel, conv_kernel, finish_kernel
from adadsr.backends.gpu.lists import LaunchDomain, Lists
from adadsr.graph import Attention, ConvWeights

INTERPRETED = not isinstance(conv_kernel, triton.JITFunction)
"""Whether TRITON_INTERPRET=1 was set when the kernels were defined; they then run on the CPU, for tests."""
POINTWISE_BLOCK_M = 32
"""BLOCK_M of the kernels without a product."""
ATTENTION_BLOCK = 8192
"""Numbers that the channel attention kernel sums at once."""
MEASURED_PIXELS = 2**20
"""Maximum number of pixels in benchmarks."""
PATCH = 16
"""Side in pixels of the patches that are active together in benchmarks: depth maps are smooth."""


class ConvConfig(NamedTuple):
    """How `conv_kernel` splits its work: pixels, output and input channels per step, and its pipeline.

    resident: programs per multiprocessor. cached: whether neighbours are read through the first-level cache.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    resident: int
    cached: bool


WIDE = (
    ConvConfig(128, 256, 64, 8, 3, 1, True),
    ConvConfig(128, 256, 64, 8, 4, 1, False),
    ConvConfig(128, 128, 64, 8, 3, 1, True),
    ConvConfig(128, 128, 64, 8, 4, 1, False),
    ConvConfig(64, 128, 64, 4, 4, 2, False),
)
"""Configs for convs with more than 64 output channels in a 16-bit type."""
NARROW = (
    ConvConfig(128, 64, 64, 4, 3, 2, True),
    ConvConfig(128, 64, 64, 4, 4, 2, False),
    ConvConfig(256, 64, 64, 8, 3, 1, True),
    ConvConfig(64, 64, 64, 4, 3, 4, True),
    ConvConfig(64, 64, 64, 4, 4, 3, False),
)
"""The same for at most 64."""
INTERPRETABLE = ConvConfig(1024, 256, 256, 1, 1, 1, False)
"""For the interpreter, in which every step takes about the same time."""

AUTOTUNER: Autotuner[ConvConfig] = Autotuner(None if INTERPRETED else time_on_device, (triton.OutOfResources,))
"""The tuned configs of this process; `AUTOTUNER.forget()` measures again."""


class Epilogue(NamedTuple):
    """What follows a conv.

    relu: also makes the gate a mask. gated: multiply by the gate. add: add to the content of `out`. clear: set to 0 the
    pixels that are listed for the previous block but not for this one.
    """

    relu: bool = False
    gated: bool = False
    add: bool = False
    clear: bool = False


def multiprocessors(device: torch.device) -> int:
    """Number of multiprocessors of a device; two for the interpreter, so that programs share the work."""
    return 2 if device.type == "cpu" else _multiprocessors(device)


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def programs(config: ConvConfig, images: Tensor) -> int:
    """Number of programs that share each image's positions: as many as run at once, but no more than have work."""
    pixels = images.shape[2] * images.shape[3]
    return min(config.resident * multiprocessors(images.device), -(-pixels // config.block_m))


def conv_at(
    source: Tensor,
    conv: ConvWeights,
    out: Tensor,
    domain: LaunchDomain,
    block: int,
    config: ConvConfig,
    epilogue: Epilogue,
    *,
    precision: str,
    sums: Tensor | None = None,
) -> None:
    """out = [out +] [gate *] [relu](conv(source)) at the positions of a block.

    precision: of float32 products, "tf32" or "ieee". sums: (N, programs, C) float32, receives the sums of each program.
    """
    c_out, c_in = conv.weight.shape[:2]
    block_n, block_k = min(config.block_n, _power(c_out)), min(config.block_k, _power(c_in))
    lists, unused = domain.lists, conv.bias
    grid = (programs(config, source), -(-c_out // block_n), len(source))
    conv_kernel[grid](
        source, conv.weight, conv.bias, out, out, unused if domain.depth_map is None else domain.depth_map,
        unused if lists is None else lists.positions, unused if lists is None else lists.counts,
        unused if sums is None else sums, domain.height, domain.width, domain.columns, domain.n_positions, block,
        domain.n_blocks, domain.group, domain.n_groups,
        C_IN=c_in, C_OUT=c_out, SIDE=domain.side, LISTED=lists is not None, RELU=epilogue.relu, GATED=epilogue.gated,
        ADD=epilogue.add, SUMS=sums is not None, CLEAR=epilogue.clear, PRECISION=precision,
        UPCAST=INTERPRETED and source.dtype == torch.bfloat16, CACHE=".ca" if config.cached else "",
        BLOCK_M=config.block_m, BLOCK_N=block_n, BLOCK_K=block_k,
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip


def dense_conv(
    source: Tensor,
    conv: ConvWeights,
    out: Tensor | None,
    domain: LaunchDomain,
    block: int,
    epilogue: Epilogue,
    sums: Tensor | None = None,
) -> Tensor:
    """The same at every pixel with torch's conv (cuDNN), regardless of lists. out: None for a new tensor."""
    result = F.conv2d(source, conv.weight, padding=1)
    if not result.is_contiguous(memory_format=torch.channels_last):
        result = result.contiguous(memory_format=torch.channels_last)
    out = result if out is None else out
    channels, unused = len(conv.bias), conv.bias
    block_n = min(128, _power(channels))
    n_programs = -(-domain.height * domain.width // POINTWISE_BLOCK_M) if sums is None else sums.shape[1]
    finish_kernel[(n_programs, -(-channels // block_n), len(source))](
        result, conv.bias, out, out, unused if domain.depth_map is None else domain.depth_map,
        unused if sums is None else sums, domain.height, domain.width, domain.columns, domain.n_positions, block,
        domain.group, domain.n_groups,
        C_OUT=channels, SIDE=domain.side, RELU=epilogue.relu, GATED=epilogue.gated, ADD=epilogue.add,
        SUMS=sums is not None, BLOCK_M=POINTWISE_BLOCK_M, BLOCK_N=block_n,
    )  # fmt: skip
    return out


def attention_scale(attention: Attention, sums: Tensor, n_pixels: int) -> Tensor:
    """Weight of each channel, (N, C) float32, from the sums of programs, (N, programs, C). Deterministic."""
    batch, n_sums, channels = sums.shape
    scale, reduced = sums.new_empty(batch, channels), len(attention.squeeze.bias)
    block_c = triton.next_power_of_2(channels)
    attention_kernel[(batch,)](
        sums, *attention.squeeze, *attention.excite, scale, n_pixels, n_sums, C=channels, R=reduced,
        BLOCK_C=block_c, BLOCK_R=triton.next_power_of_2(reduced), BLOCK_SUMS=max(1, ATTENTION_BLOCK // block_c),
    )  # fmt: skip
    return scale


def add_scaled(z: Tensor, update: Tensor, scale: Tensor, domain: LaunchDomain, block: int) -> None:
    """z += scale * update at the positions of a block. z, update: (N, C, H, W). scale: (N, C) float32."""
    channels, lists = z.shape[1], domain.lists
    block_n, steps = min(128, _power(channels)), -(-domain.height * domain.width // POINTWISE_BLOCK_M)
    grid = (min(steps, 8 * multiprocessors(z.device)), -(-channels // block_n), len(z))
    add_kernel[grid](
        z, update, scale, scale if lists is None else lists.positions, scale if lists is None else lists.counts,
        domain.height, domain.width, domain.columns, domain.n_positions, block, domain.n_blocks, domain.group,
        domain.n_groups,
        C=channels, SIDE=domain.side, LISTED=lists is not None, BLOCK_M=POINTWISE_BLOCK_M, BLOCK_N=block_n,
    )  # fmt: skip


def configs(conv: ConvWeights) -> list[ConvConfig]:
    """The configs that compete for a conv. BLOCK_K is halved for float32."""
    if INTERPRETED:
        return [INTERPRETABLE]
    candidates = WIDE if len(conv.bias) > 64 else NARROW
    if conv.weight.element_size() == 2:
        return list(candidates)
    return [config._replace(block_k=config.block_k // 2) for config in candidates]


def tuned_config(
    autotuner: Autotuner[ConvConfig], conv: ConvWeights, epilogue: Epilogue, images: Tensor, side: int, precision: str
) -> TunedConfig[ConvConfig]:
    """The tuned config for a conv on images (N, C, H, W); measured once per kind of conv and power of two of pixels."""
    size = (images.shape[0] * images.shape[2] * images.shape[3]).bit_length()
    kind = (str(images.device), images.dtype, precision, tuple(conv.weight.shape), epilogue, side, size)
    return autotuner.tuned_config(kind, partial(_benchmark, conv, epilogue, images, side, precision))


def _benchmark(
    conv: ConvWeights, epilogue: Epilogue, images: Tensor, side: int, precision: str
) -> Benchmark[ConvConfig]:
    """Benchmark of a conv on noise of at most the size of `images`, active in patches."""
    batch, channels, height, width = images.shape
    height = max(side, min(height, MEASURED_PIXELS // (batch * width)))
    generator = torch.Generator(images.device).manual_seed(0)
    like_images = partial(torch.empty, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    source = like_images((batch, channels, height, width)).normal_(generator=generator)
    out = like_images((batch, len(conv.bias), height, width)).zero_()
    order = _patches(LaunchDomain(height, width, side), batch, generator)

    def at_share(share: float) -> LaunchDomain:
        active = max(1, round(share * order.shape[2]))
        depth_map = torch.zeros_like(order, dtype=torch.float32).scatter_(2, order[..., :active], 1.0)
        counts = torch.full((batch, 1, 1), active, dtype=torch.int32, device=images.device)
        return LaunchDomain(height, width, side, depth_map, Lists(order.int(), counts))

    def sparse(config: ConvConfig, share: float) -> Callable[[], None]:
        return partial(conv_at, source, conv, out, at_share(share), 0, config, epilogue, precision=precision)

    def dense() -> None:
        dense_conv(source, conv, out, everywhere, 0, epilogue)

    everywhere = at_share(1.0)
    return Benchmark(configs(conv), sparse, dense)


def _patches(domain: LaunchDomain, batch: int, generator: torch.Generator) -> Tensor:
    """All positions of each image, patch by patch in random order: (N, 1, P) int64."""
    patch, rows = max(1, PATCH // domain.side), domain.n_positions // domain.columns
    size = (batch, -(-rows // patch), -(-domain.columns // patch))
    noise = torch.rand(size, generator=generator, device=generator.device)
    noise = noise.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :rows, : domain.columns]
    return torch.sort(noise.flatten(1), dim=1, stable=True).indices[:, None]


def _power(channels: int) -> int:
    """The next power of two, at least 16, the minimum for tensor-core products."""
    return max(16, 1 << (channels - 1).bit_length())
