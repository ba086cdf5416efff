"""Table of backends, the ways to run a network. A new backend is a package with an engine, one row and one test.

engine        the protocol of an engine
tail_folding  the convs of a tail with PixelShuffle as one
portable      plain torch, any network on any device
native        compiled, on the CPU, without torch
gpu           Triton, on CUDA devices; experimental
"""

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from adadsr.backends.engine import (
    DepthMap,
    Engine,
    Features,
    Means,
    Progress,
    Revise,
    as_squares,
    band_rows,
    no_progress,
    to_numpy,
)
from adadsr.errors import BackendError, InputError, MissingDependencyError
from adadsr.graph import NetworkWeights
from adadsr.machine import ISA_VARIABLE, default_threads, processor_name

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Backend",
    "DepthMap",
    "Engine",
    "Features",
    "Means",
    "Progress",
    "Revise",
    "as_squares",
    "auto_device",
    "band_rows",
    "check_device",
    "device_name",
    "no_progress",
    "prepare",
    "to_numpy",
    "with_threads",
]

PRECISIONS = ("float32", "float16", "bfloat16")
"""Types that body and tail can run in."""
NO_TORCH = "torch is not installed; pip install 'adadsr[torch]'"


class Backend(NamedTuple):
    """A way to run networks.

    prepare: network, device, precision and threads -> engine. missing: why it cannot run on a device; None if it can.
    precisions: those that it supports.
    """

    description: str
    prepare: Callable[[NetworkWeights, str, str, int], Engine]
    missing: Callable[[str], str | None]
    precisions: tuple[str, ...] = PRECISIONS


def _prepare_native(network: NetworkWeights, device: str, precision: str, threads: int) -> Engine:
    from adadsr.backends.native.engine import NativeEngine

    return NativeEngine(network, threads, precision=precision)


def _prepare_torch(network: NetworkWeights, device: str, precision: str, threads: int) -> Engine:
    import torch

    from adadsr.backends.portable.engine import TensorEngine

    return TensorEngine(network, torch.device(device), getattr(torch, precision))


def _prepare_dense(network: NetworkWeights, device: str, precision: str, threads: int) -> Engine:
    import torch

    from adadsr.backends.portable.engine import DenseEngine

    return DenseEngine(network, torch.device(device), getattr(torch, precision))


def _prepare_triton(network: NetworkWeights, device: str, precision: str, threads: int) -> Engine:
    import torch

    from adadsr.backends.gpu.engine import TritonEngine

    return TritonEngine(network, torch.device(device), getattr(torch, precision))


def _native_missing(device: str) -> str | None:
    from adadsr.backends import native

    return native.missing() if device == "cpu" else "it runs on CPUs only"


def _torch_missing(device: str) -> str | None:
    return NO_TORCH if importlib.util.find_spec("torch") is None else None


def _triton_missing(device: str) -> str | None:
    from adadsr.backends import gpu

    return _torch_missing(device) or gpu.missing(device)


BACKENDS = {
    "native": Backend("C++ engine for CPUs", _prepare_native, _native_missing, ("float32", "bfloat16")),
    "torch": Backend("portable PyTorch, any device", _prepare_torch, _torch_missing),
    # After `torch`, so that it runs only by request: it has not been timed on a device yet.
    "triton": Backend("Triton engine for CUDA, experimental", _prepare_triton, _triton_missing),
    "dense": Backend("PyTorch without skipping, for comparison", _prepare_dense, _torch_missing),
}
"""Name -> backend, the fastest first."""


def prepare(
    network: NetworkWeights,
    backend: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
    threads: int | None = None,
) -> Engine:
    """Prepare a network to run.

    Args:
        network: Its weights as float32 numpy arrays.
        backend: A key of `BACKENDS`; None for the first one that can run the network on the device, or for `native`
            if ADADSR_ISA asks for one of its instruction sets.
        device: `cpu`, or torch's name of a device.
        precision: Type of body and tail, one of `PRECISIONS`.
        threads: Threads of the native engine; None for `machine.default_threads`. torch has its own setting.

    Raises:
        InputError: The device or the instruction set of ADADSR_ISA is not available, or the precision is unknown.
        BackendError: The backend is unknown, or cannot run here or cannot run this network.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision={precision!r} is not one of {', '.join(PRECISIONS)}")
    if backend not in (None, *BACKENDS):
        raise BackendError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    check_device(device)
    if backend is None and device == "cpu" and os.environ.get(ISA_VARIABLE):
        backend = "native"
    reasons = []
    for name in BACKENDS if backend is None else (backend,):
        try:
            return _prepare(name, network, device, precision, threads or default_threads())
        except BackendError as error:
            reasons.append(str(error))
    raise BackendError("; ".join(reasons))


def with_threads(engine: Engine, threads: int) -> Engine:
    """The engine with the same weights on another number of threads, if its backend counts threads."""
    change = getattr(engine, "with_threads", None)
    return engine if change is None else change(threads)


def _prepare(name: str, network: NetworkWeights, device: str, precision: str, threads: int) -> Engine:
    row = BACKENDS[name]
    reason = row.missing(device)
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot run on {device}: {reason}")
    if precision not in row.precisions:
        able = ", ".join(key for key, other in BACKENDS.items() if precision in other.precisions)
        raise BackendError(f"backend {name!r} does not support {precision}; use {able}")
    return row.prepare(network, device, precision, threads)


def check_device(device: str) -> None:
    """Raise InputError if a device is not available here, MissingDependencyError if it needs torch."""
    if device == "cpu":
        return
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(f"device {device!r}: {NO_TORCH}") from error
    try:
        torch.zeros(1, device=torch.device(device)).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(f"device {device!r} is not available ({reason}); use cpu") from error


def auto_device() -> str:
    """CUDA if torch is installed and sees a device, otherwise the CPU. Without a driver torch is not imported."""
    if not _has_driver() or _torch_missing("cuda") is not None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_driver() -> bool:
    """Whether a GPU driver that torch addresses as `cuda` is installed: NVIDIA's, or AMD's on Linux."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def device_name(device: str) -> str:
    """Product name of an available device; for `cpu`, that of the processor."""
    if device == "cpu":
        return processor_name()
    import torch

    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
