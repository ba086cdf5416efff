"""Dense networks that the Triton engine is held against on a GPU, the paper's sparse conv, and timing in turns."""

import statistics
from collections.abc import Callable

import torch
from gpu_forward import Captured, Forward, RunBody
from peers import time_in_turns
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import Attention, BodyWeights, ConvWeights, NetworkWeights, ResidualBlock
from adadsr.graph.depth import gate
from adadsr.tensor_ops import OPS

Runner = Callable[[], Tensor]
ROUND_SECONDS = 0.02
"""A round runs a variant so often that it takes about so long."""


def plain_block(x: Tensor, conv1: ConvWeights, conv2: ConvWeights, attention: Attention | None) -> Tensor:
    """A residual block at full depth."""
    result: Tensor = ResidualBlock(conv1, conv2, attention).run(OPS, x)
    return result


def skip_conv(x: Tensor, conv: ConvWeights, start: Tensor) -> Tensor:
    """A conv and a skip."""
    result: Tensor = conv.run(OPS, x) + start
    return result


def dense_body(body: BodyWeights, *, compiled: bool) -> RunBody:
    """The body at full depth. compiled: its parts by torch.compile (max-autotune), once for blocks of one shape."""
    block_step, skip_step = plain_block, skip_conv
    if compiled:
        torch._dynamo.reset()  # it compiles one function for a few shapes only
        mode = "max-autotune-no-cudagraphs"  # the graph around the whole network is ours
        block_step = torch.compile(plain_block, mode=mode, dynamic=False)
        skip_step = torch.compile(skip_conv, mode=mode, dynamic=False)

    def run(z0: Tensor, depth_map: Tensor | None) -> Tensor:
        z = z0
        for group in body.groups:
            start = z
            for block in group.blocks:
                assert isinstance(block, ResidualBlock)
                z = block_step(z, *block)
            if group.conv is not None:
                z = skip_step(z, group.conv, start)
        return z if body.conv is None else skip_step(z, body.conv, z0)

    return run


def dense_variants(network: NetworkWeights, lr: Tensor, *, compiled: bool) -> dict[str, Runner]:
    """The network at full depth without its adapter: eager, compiled, and both as CUDA graphs."""
    variants: dict[str, Runner] = {}
    for name in ("eager", "compiled") if compiled else ("eager",):
        forward = Forward(network, dense_body(network.body, compiled=name == "compiled"))
        try:
            captured = Captured(forward, lr)
        except Exception as error:  # a compiler may lack many things; the other rows are still worth having
            if name == "eager":
                raise
            print(f"{name} does not run: {type(error).__name__}: {str(error)[:300]}")
            continue
        variants[name] = lambda forward=forward: forward(lr)  # type: ignore[misc]
        variants[f"{name}, graph"] = lambda captured=captured: captured(lr)  # type: ignore[misc]
    return variants


def im2col_body(body: BodyWeights) -> RunBody:
    """The paper's way for a body without attention: neighbourhoods of active pixels as a matrix, and a product."""

    def at(source: Tensor, conv: ConvWeights, pixels: Tensor) -> Tensor:
        """The conv at pixels of a batch whose images have a border of zeros: rows of channels."""
        _, channels, _, columns = source.shape
        rows = source.permute(0, 2, 3, 1).reshape(-1, channels)
        steps = torch.arange(-1, 2, device=source.device)
        near = pixels[:, None] + (steps[:, None] * columns + steps).flatten()
        matrix = rows[near].flatten(1)
        return torch.addmm(conv.bias, matrix, conv.weight.permute(2, 3, 1, 0).flatten(0, 2))

    def run(z0: Tensor, depth_map: Tensor | None) -> Tensor:
        assert depth_map is not None
        depths = OPS.expand_tiles(depth_map, body.depth_tile, *z0.shape[2:])
        dilated = F.max_pool2d(depths, 3, 1, 1) if body.depth_tile == 1 else depths
        depths, dilated = (F.pad(each, (1, 1, 1, 1)).flatten() for each in (depths, dilated))
        z = F.pad(z0, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(body.groups[0].blocks):
            assert isinstance(block, ResidualBlock)
            first, second = (torch.nonzero(each > number).flatten() for each in (dilated, depths))
            hidden = torch.zeros_like(z)
            hidden.permute(0, 2, 3, 1).view(-1, z.shape[1])[first] = F.relu(at(z, block.conv1, first))
            update = at(hidden, block.conv2, second) * gate(depths[second], number)[:, None].to(z.dtype)
            z.permute(0, 2, 3, 1).view(-1, z.shape[1]).index_add_(0, second, update)
        assert body.conv is not None
        return skip_conv(z[..., 1:-1, 1:-1], body.conv, z0)

    return run


def median_times(runners: dict[str, Runner], rounds: int) -> dict[str, float]:
    """Median milliseconds of each runner on the current CUDA device, timed in turns."""
    for run in runners.values():
        run()  # compiles
    times = time_in_turns(runners, rounds, _warm_milliseconds)
    return {name: statistics.median(each) for name, each in times.items()}


def _warm_milliseconds(run: Runner) -> float:
    once = _seconds(run, 1)  # warms up
    return 1000 * _seconds(run, max(1, min(50, round(ROUND_SECONDS / max(1e-6, once)))))


def _seconds(run: Runner, count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / count


def measured_peak(device: torch.device, size: int = 8192) -> float:
    """TFLOP/s of a large product in float16."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.float16) for _ in range(2))
    return 2 * size**3 / median_times({"product": lambda: a @ b}, 7)["product"] / 1e9


def measured_bandwidth(device: torch.device, size: int = 2**30) -> float:
    """TB/s that a copy of `size` bytes reads and writes."""
    source, target = (torch.empty(size, device=device, dtype=torch.uint8) for _ in range(2))
    return 2 * size / median_times({"copy": lambda: target.copy_(source)}, 7)["copy"] / 1e9
