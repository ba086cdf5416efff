"""What all parts of the native engine share: memory that is used again, and the choice of an instruction set."""

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from torch import Tensor
from torch.utils.dlpack import from_dlpack

from adadsr.errors import BackendError
from adadsr.sparse import _native

TILE = 4
"""Side in pixels of the tiles that the engine computes."""
KEPT_BYTES = 128 * 2**20
"""A workspace up to this size is kept for the next image. Getting a larger one is little beside what it is used for."""
ISA_VARIABLE = "ADADSR_ISA"
"""Environment variable that names the instruction set to use instead of the fastest one."""


class Sized(Protocol):
    """Memory of a known size."""

    @property
    def bytes(self) -> int: ...


Key = TypeVar("Key", bound=Hashable)
Space = TypeVar("Space", bound=Sized)


class WorkspacePool(Generic[Key, Space]):
    """Workspaces that are free, all for images of the size that was last run."""

    def __init__(self, make: Callable[[Key], Space]) -> None:
        """make: a new workspace for images of a size."""
        self._make = make
        self._free: list[tuple[Key, Space]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lease(self, size: Key) -> Iterator[Space]:
        """A workspace for images of this size that no other thread uses."""
        with self._lock:
            fitting = [entry for entry in self._free if entry[0] == size]
            self._free = fitting[1:]  # those of other sizes would pile up
        workspace = fitting[0][1] if fitting else self._make(size)
        yield workspace
        # After an exception, such as Ctrl-C in the middle of a pass, the workspace is not kept.
        if workspace.bytes <= KEPT_BYTES:
            with self._lock:
                self._free.append((size, workspace))


def chosen_isa(isa: str | None) -> str:
    """`isa`, or where it is None that of ADADSR_ISA, or else the fastest. Raises BackendError."""
    chosen = isa or os.environ.get(ISA_VARIABLE) or _native.isas()[0]
    if chosen not in _native.isas():
        raise BackendError(f"instruction set {chosen!r} is not one of this machine's: {', '.join(_native.isas())}")
    return chosen


def view(canvas: _native.Canvas) -> Tensor:
    """The images of a canvas as a tensor (N, H, W, C) that shares its memory."""
    return from_dlpack(canvas.view())
