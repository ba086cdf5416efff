"""What the tests of the Triton engine share. Without a CUDA device the kernels are interpreted, see conftest.py."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from adadsr.backends import gpu
from adadsr.graph import ConvWeights

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
WHY_MISSING = gpu.missing(DEVICE.type)
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_TRITON") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.backends.gpu.autotune import Autotuner  # noqa: E402
from adadsr.backends.gpu.launch import ConvConfig  # noqa: E402
from adadsr.backends.gpu.lists import LaunchDomain, sorted_lists  # noqa: E402

HALF = (torch.float16, torch.bfloat16)
UNTIMED: Autotuner[ConvConfig] = Autotuner(None)


def random_conv(seed: int, channels: int, out: int, dtype: torch.dtype = torch.float32) -> ConvWeights:
    """Weights in `dtype` that keep the size of features, bias in float32."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    return ConvWeights(weight.to(dtype), torch.randn(out, generator=generator))


def random_images(
    seed: int, batch: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(batch, channels, height, width, generator=generator).to(dtype)


def on_device(images: Tensor) -> Tensor:
    return images.to(DEVICE).contiguous(memory_format=torch.channels_last)


def packed(conv: ConvWeights) -> ConvWeights:
    return ConvWeights(on_device(conv.weight), conv.bias.to(DEVICE))


def exact(images: Tensor, conv: ConvWeights) -> Tensor:
    """The conv in float64."""
    return F.conv2d(images.double(), conv.weight.double(), conv.bias.double(), padding=1)


def plain_error(images: Tensor, conv: ConvWeights) -> float:
    """Error of torch's conv on the CPU, in the type of the images."""
    plain = F.conv2d(images, conv.weight, conv.bias.to(images.dtype), padding=1)
    return float((plain - exact(images, conv)).abs().max())


def domain_of(depth_map: Tensor, n_blocks: int, side: int, height: int, width: int, group: int = 0) -> LaunchDomain:
    """depth_map: (N, G, h, w)."""
    depth_map = depth_map.to(DEVICE)
    return LaunchDomain(height, width, side, depth_map, sorted_lists(depth_map, n_blocks), group)


class _Refusing(TorchDispatchMode):
    """Refuses operations whose result has to be read on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.overloadpacket._qualified_op_name.removeprefix("aten::") in (
            "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal", "is_nonzero",
        ):  # fmt: skip
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, whatever waits for the device to read a value of a tensor raises."""
    if DEVICE.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return

    def refuse(*_: object, **__: object) -> object:
        raise AssertionError("a tensor's values were asked for on the host")

    with pytest.MonkeyPatch.context() as patch, _Refusing():
        for name in ("item", "tolist", "cpu", "numpy"):
            patch.setattr(Tensor, name, refuse)
        yield
