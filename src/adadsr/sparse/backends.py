"""The backends, a table: what can run a network, the fastest first. Adding one is one file, one row and one test."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from adadsr.errors import BackendError
from adadsr.sparse import extension, gpu
from adadsr.sparse.body import Body, BodyRun, Tail, body_macs
from adadsr.sparse.front import Front, RunFront, run_front
from adadsr.sparse.gather import run_gather
from adadsr.sparse.reference import run_reference, run_tail

RunTail = Callable[[Tensor], Tensor]


class RunBody(Protocol):
    """A function that runs a body; see `gather.run_gather`."""

    def __call__(
        self, z0: Tensor, depth_map: Tensor | None = None, progress: Callable[[float], None] = ...
    ) -> BodyRun: ...


class PreparedBody(NamedTuple):
    """A body that a backend is ready to run. Threads may share it.

    held: bytes that it takes beside the body's own tensors. copies: buffers of the size of the features that a run
    holds at the same time, z0 and what head and adapter need included, at most (`benchmarks/memory.py`).
    """

    run: RunBody
    held: int = 0
    copies: int = 8


class Backend(NamedTuple):
    """A way to run head and adapter, a body and a tail.

    prepare: what a body needs to be done once, such as packing its weights; gives what runs it.
    prepare_front: the same of head and adapter, see `front.run_front`.
    prepare_tail: the same of a tail; gives z (N, C, H, W) -> (N, C', s*H, s*W), see `reference.run_tail`.
    missing: why it cannot run on a device, or None where it can. types: of the tensors that it can run in.
    tail_copies: buffers of the size of the enlarged features that the tail holds at the same time, at most.
    frugal: whether a body whose tiles are exact should stay within little memory where the user says nothing.
    """

    description: str
    prepare: Callable[[Body], PreparedBody]
    prepare_front: Callable[[Front], RunFront]
    prepare_tail: Callable[[Tail], RunTail]
    missing: Callable[[torch.device], str | None]
    types: tuple[torch.dtype, ...] = (torch.float32, torch.float16, torch.bfloat16)
    tail_copies: int = 4
    frugal: bool = False

    def run(self, body: Body, z0: Tensor, depth_map: Tensor | None) -> BodyRun:
        """Prepare a body and run it once."""
        return self.prepare(body).run(z0, depth_map)


def _run_dense(
    body: Body, z0: Tensor, depth_map: Tensor | None = None, progress: Callable[[float], None] = lambda share: None
) -> BodyRun:
    """The definition, as a backend: every block everywhere, whatever the depth map says."""
    batch, _, height, width = z0.shape
    return BodyRun(run_reference(body, z0, depth_map), body_macs(body, None, batch, height, width))


def _prepare_native(body: Body) -> PreparedBody:
    from adadsr.sparse.native import NativeBody

    native = NativeBody(body)
    return PreparedBody(native, native.held, native.copies)


def _prepare_native_front(front: Front) -> RunFront:
    from adadsr.sparse.native_front import NativeFront

    return NativeFront(front)


def _prepare_native_tail(tail: Tail) -> RunTail:
    from adadsr.sparse.native_tail import NativeTail

    return NativeTail(tail)


def _prepare_triton(body: Body) -> PreparedBody:
    from adadsr.sparse.triton import TritonBody

    triton = TritonBody(body)
    return PreparedBody(triton, triton.held)


def _prepare_torch_front(front: Front) -> RunFront:
    return partial(run_front, front)


def _prepare_torch_tail(tail: Tail) -> RunTail:
    return partial(run_tail, tail)


BACKENDS = {
    "native": Backend(
        "compiled convs at active tiles and pixels, on the CPU",
        _prepare_native,
        _prepare_native_front,
        _prepare_native_tail,
        extension.missing,
        (torch.float32,),
        tail_copies=1,
        frugal=True,
    ),
    "torch": Backend(
        "gather, multiply, scatter at active positions, on any device",
        lambda body: PreparedBody(partial(run_gather, body)),
        _prepare_torch_front,
        _prepare_torch_tail,
        lambda device: None,
    ),
    # Behind `torch`, so that nobody gets it who does not ask: no device has measured it yet (docs/performance.md).
    "triton": Backend(
        "compiled convs at active tiles and pixels, on a GPU's tensor cores",
        _prepare_triton,
        _prepare_torch_front,
        _prepare_torch_tail,
        gpu.missing,
    ),
    "dense": Backend(
        "every block everywhere, times the gates; saves nothing",
        lambda body: PreparedBody(partial(_run_dense, body)),
        _prepare_torch_front,
        _prepare_torch_tail,
        lambda device: None,
    ),
}


def default_backend(device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The backend that runs where none is asked for: the first of the table that can run on `device` in `dtype`."""
    return next(
        name for name, backend in BACKENDS.items() if dtype in backend.types and backend.missing(device) is None
    )


def choose_backend(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Backend:
    """The backend `name`; raises BackendError where it is unknown or cannot run on `device` in `dtype`."""
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is not one of {', '.join(BACKENDS)}")
    reason = BACKENDS[name].missing(device)
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot run on {device}: {reason}")
    if dtype not in BACKENDS[name].types:
        able = ", ".join(key for key, backend in BACKENDS.items() if dtype in backend.types)
        raise BackendError(f"backend {name!r} cannot run in {str(dtype).removeprefix('torch.')}; these can: {able}")
    return BACKENDS[name]
