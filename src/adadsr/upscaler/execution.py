"""How networks run: one object from the command line to the engine."""

from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

from adadsr.backends import PRECISIONS
from adadsr.errors import InputError
from adadsr.upscaler.frame import BORDERS


@dataclass(frozen=True)
class Execution:
    """How networks run.

    Attributes:
        device: `cpu`, or torch's name of a device.
        backend: A key of `backends.BACKENDS`; None for the fastest that can run the network on the device.
        tile: Maximum side of a tile in LR pixels; None for as large as memory allows. Values below 4 count as 4 (below
            8 as 8 where a network sees squares of 2x2 pixels as one).
        memory: Working memory of all simultaneous runs of an Upscaler, in bytes: features, images, depth maps. None for
            1 GiB if tiles are exact and cost little, otherwise 4 GiB; on a GPU, for the free memory.
        precision: Type of body and tail, one of `backends.PRECISIONS`. A tile that overflows in half precision runs
            again in float32.
        threads: Threads of the native engine; None for ADADSR_THREADS, OMP_NUM_THREADS or all the process may use.
        border: What networks see beyond the border, one of `frame.BORDERS`: `reflect` continues the image and so avoids
            a dark edge; `zero` is what networks do by themselves, and what figures in the literature are measured with.

    Raises:
        InputError: A value is not allowed.
    """

    device: str = "cpu"
    backend: str | None = None
    tile: int | None = None
    memory: int | None = None
    precision: str = "float32"
    threads: int | None = None
    border: str = "reflect"

    def __post_init__(self) -> None:
        for name, unit in (("tile", "1 LR pixel"), ("memory", "1 byte"), ("threads", "1")):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, SupportsIndex):
                raise InputError(f"{name}={value!r} must be a whole number")
            if index(value) < 1:
                raise InputError(f"{name}={value} must be at least {unit}")
        for name, allowed in (("precision", PRECISIONS), ("border", BORDERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r} is not one of {', '.join(allowed)}")
