"""Memory that is reused from image to image, and the choice of an instruction set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import numpy.typing as npt

from adadsr import forks
from adadsr.backends.native import _native
from adadsr.errors import BackendError, InputError
from adadsr.machine import ISA_VARIABLE

TILE = 4
"""Side in pixels of the tiles that the engine computes."""
KEPT_BYTES = 128 * 2**20
"""Canvases up to this size in all are reused, and lists up to this size each. Larger ones are freed; allocating them is
cheap next to the work."""
HEAD = "head"
"""The part that an image runs first."""
KEPT_LISTS = 8
"""Number of recent runs whose lists are reused: two threads with four parts each."""
AMX = "amx"


class Size(NamedTuple):
    """Numbers of images, rows, columns and channels of a canvas, and the precision of `_native.Canvas`."""

    batch: int
    height: int
    width: int
    channels: int
    precision: str = "float32"


def read_by(weights: _native.TileWeights) -> str:
    """Precision of a canvas that only convs like this one read."""
    return "bfloat16" if weights.is_bfloat16 else "float32"


def read_and_added_by(weights: _native.TileWeights) -> str:
    """Precision of a canvas that such convs read and add to."""
    return "both" if weights.is_bfloat16 else "float32"


class Lease(NamedTuple):
    """A canvas in use. images: its memory as (N, H, W, C); the canvas is leased as long as this array exists.

    They are float32, or of a canvas that holds only bfloat16, its bits.
    """

    canvas: _native.Canvas
    images: npt.NDArray[Any]


class Needs(NamedTuple):
    """Memory needs of one part of a network, for images of one size. Allocates nothing.

    positions, depths: maximum length of each list. scratch: bytes.
    """

    canvases: tuple[Size, ...]
    positions: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    scratch: int = 0

    @property
    def bytes(self) -> int:
        """Total size."""
        canvases = sum(_native.Canvas.bytes_of(*size) for size in self.canvases)
        return canvases + 4 * (sum(self.positions) + sum(self.depths)) + self.scratch


class Lists:
    """Lists of positions, depths and scratch memory of one run."""

    def __init__(self, needs: Needs) -> None:
        self.positions = [_native.Positions.with_room(count) for count in needs.positions]
        self.depths = [_native.Depths.with_room(count) for count in needs.depths]
        self.scratch = _native.Scratch(needs.scratch)


class Memory:
    """Memory of one engine that is reused from image to image. Threads may share it.

    Canvases of one size are interchangeable: every operation leaves zeros around the images. Keeps at most what the
    network's parts last needed, so many image sizes take no more memory than the largest one.
    """

    def __init__(self) -> None:
        self._canvases: list[tuple[Size, _native.Canvas]] = []
        self._lists: list[tuple[Needs, Lists]] = []
        self._latest: dict[str, Needs] = {}
        self._lock = forks.Lock()

    @contextmanager
    def lease(self, part: str, needs: Needs) -> Iterator[tuple[list[Lease], Lists]]:
        """Canvases with arbitrary content, and lists, exclusive to this thread.

        A canvas stays leased as long as its `images` array exists. part: of the network, `HEAD` or any other name.
        """
        with self._lock:
            self._free_unneeded(part, needs)
            leases = [self._canvas(size) for size in needs.canvases]
            found = next((entry for entry in self._lists if entry[0] == needs), None)
            if found is not None:
                self._lists.remove(found)
        lists = Lists(needs) if found is None else found[1]
        yield leases, lists
        # After an exception, such as Ctrl-C during a run, the lists are not reused.
        if needs._replace(canvases=()).bytes <= KEPT_BYTES:
            with self._lock:
                self._lists = [*self._lists[1 - KEPT_LISTS :], (needs, lists)]

    def _free_unneeded(self, part: str, needs: Needs) -> None:
        """Free what no part needs any more; an image of another size begins with other needs of the head."""
        if self._latest.get(part) == needs:
            return
        if part == HEAD:
            self._latest.clear()
        self._latest[part] = needs
        sizes = {size for latest in self._latest.values() for size in latest.canvases}
        self._canvases = [entry for entry in self._canvases if entry[0] in sizes or not entry[1].is_unshared]
        self._lists = [entry for entry in self._lists if entry[0] in self._latest.values()]

    def _canvas(self, size: Size) -> Lease:
        for kept, canvas in self._canvases:
            if kept == size and canvas.is_unshared:
                return Lease(canvas, canvas.view())
        canvas = _native.Canvas(*size)
        newest_first = [(size, canvas), *reversed(self._canvases)]
        sums = accumulate(kept.bytes for _, kept in newest_first)
        self._canvases = [entry for entry, total in zip(newest_first, sums, strict=True) if total <= KEPT_BYTES][::-1]
        return Lease(canvas, canvas.view())


def chosen_isa(isa: str | None) -> str:
    """`isa`; if None, that of ADADSR_ISA, otherwise the fastest.

    Raises BackendError for an `isa` that this machine lacks, InputError for such an ADADSR_ISA.
    """
    forced, available = os.environ.get(ISA_VARIABLE), ", ".join(_native.isas())
    chosen = isa or forced or _native.isas()[0]
    if chosen in _native.isas():
        return chosen
    if isa is None:
        raise InputError(f"{ISA_VARIABLE}={forced} is not available on this machine; unset it, or choose {available}")
    raise BackendError(f"instruction set {chosen!r} is not available on this machine; choose from {available}")


def bf16_isa(isa: str | None = None) -> str:
    """The set that rounds factors to bfloat16 in place of `chosen_isa`. Raises BackendError if that is not AMX."""
    found, chosen = _native.bf16_isa(), chosen_isa(isa)
    if found is None or chosen != AMX:
        raise BackendError(f"the native engine has bfloat16 on AMX only, and it runs on {chosen} here; use float32")
    return found


def isas_by_precision() -> dict[str, str]:
    """What the engine chooses for each precision that it has here. Raises InputError as `chosen_isa`."""
    chosen = {"float32": chosen_isa(None)}
    try:
        return chosen | {"bfloat16": bf16_isa()}
    except BackendError:
        return chosen
