"""How an image is cut so that a run fits into memory, and the memory shared by runs."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from adadsr import forks
from adadsr.backends import Engine, band_rows
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.graph import NetworkWeights
from adadsr.tiling import Tile, plan_tiles
from adadsr.upscaler.execution import Execution
from adadsr.upscaler.frame import Frame

DEFAULT_LIMIT = 4 * 2**30
"""Default working memory of runs, in bytes."""
LOW_LIMIT = 2**30
"""The same if that suffices, tiles are exact and their overlap costs little."""
CHEAP_SIDE = 8
"""The overlap of tiles costs little if their side is at least this multiple of the context."""
SMALLEST_SIDE = 16
"""Minimum width and height of a tile's core, in LR pixels."""
DEVICE_SHARE = 0.9
"""Share of a device's free memory to plan with; its libraries need the rest."""
DEPTH_COPIES = 4
"""LR-sized maps that are in memory at once while a depth map is planned and returned."""
SCORE_COPIES = 4
"""The same for scores."""
BYTES_WHILE_STORED = 4 * 3
"""Of an SR pixel that becomes samples: its three channels in float32."""
MOST_PIXELS = 2**31
"""Engines may count the pixels of a window, and of `PADDING` around it in each direction, in 32 bits."""
PADDING = 5
ALIGNMENT = 4
"""Tiles start at multiples of this, in LR pixels: whole depth tiles, and whole tiles of convs."""


@dataclass(frozen=True)
class Layout:
    """How an image is cut.

    frame: the image with its border; boxes are in its coordinates. tiles: for body and tail. scored: for head and
    adapter, whose context is smaller. averaged: for a first pass through the body, which finds the means that channel
    attention needs; none if no block attends or the image is one tile. exact: whether the result equals that of the
    whole image. bytes: working memory of a run, including images.
    """

    frame: Frame
    tiles: tuple[Tile, ...]
    scored: tuple[Tile, ...]
    averaged: tuple[Tile, ...]
    exact: bool
    bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether the image is one tile."""
        return len(self.tiles) == 1


def lay_out_picture(engine: Engine, height: int, width: int, held: int, execution: Execution) -> Layout:
    """How a picture of a size is cut. held: bytes as of `Source.held_bytes`. Raises InputError as `lay_out`."""
    network = engine.network
    frame = Frame.of(height, width, execution.border, network)
    held += 4 * (network.image_channels * frame.box.area - 3 * height * width)
    if network.adapter is not None:
        scores = SCORE_COPIES * network.adapter.n_scores / network.depth_tile**2
        held += int(4 * frame.box.area * (DEPTH_COPIES * network.n_groups + scores))
    return lay_out(engine, frame, held, execution)


def lay_out(engine: Engine, frame: Frame, held: int, execution: Execution) -> Layout:
    """The largest tiles within the limit. held: bytes of images and depth maps.

    Raises InputError if not even the smallest tile fits.
    """
    network = engine.network
    side = _largest_side(engine, frame, held, _limit(engine, frame, held, execution))
    if execution.tile is not None and execution.tile < network.square * max(frame.height, frame.width):
        side = min(side, max(ALIGNMENT, execution.tile // network.square // ALIGNMENT * ALIGNMENT))
    tiles = plan_tiles(frame.height, frame.width, side, network.context, ALIGNMENT, frame.border)
    # Scores must equal those of the whole image to the last bit: a budget may separate two that are nearly equal.
    reach = 0 if network.adapter is None else network.adapter.reach + network.head.conv.reach
    exact = len(tiles) == 1 or network.has_exact_tiles
    scored = tiles if len(tiles) == 1 else plan_tiles(frame.height, frame.width, side, reach, ALIGNMENT, frame.border)
    # Without context: each pixel counts once, and wrong borders hardly change a mean.
    attends = network.body.attends and len(tiles) > 1
    averaged = plan_tiles(*frame.size, side, 0, ALIGNMENT) if attends else ()
    return Layout(frame, tiles, scored, averaged, exact, held + _window_bytes(engine, frame, side))


def _limit(engine: Engine, frame: Frame, held: int, execution: Execution) -> int:
    """Working memory of a run, in bytes."""
    if execution.memory is not None:
        return execution.memory
    free = engine.free_bytes()
    if free is not None:
        return int(free * DEVICE_SHARE)
    network, whole = engine.network, max(frame.size)
    if network.has_exact_tiles or _fits(engine, frame, held, whole, LOW_LIMIT):
        try:
            side = _largest_side(engine, frame, held, LOW_LIMIT)
        except InputError:
            return DEFAULT_LIMIT
        if side >= min(whole, CHEAP_SIDE * network.context):
            return LOW_LIMIT
    return DEFAULT_LIMIT


def _largest_side(engine: Engine, frame: Frame, held: int, limit: int) -> int:
    """The largest side of a core whose window fits into `limit`; that of the whole image if it fits."""
    whole = max(frame.size)
    if _fits(engine, frame, held, whole, limit):
        return whole
    if not _fits(engine, frame, held, SMALLEST_SIDE, limit):
        least = held + _window_bytes(engine, frame, SMALLEST_SIDE)
        raise InputError(
            f"an image of {frame.width * frame.square}x{frame.height * frame.square} needs at least "
            f"{-(-least // 2**20)} MiB of memory here, the limit is {limit / 2**20:.6g} MiB; raise it (--memory, "
            "Execution(memory=...))"
        )
    low, high = SMALLEST_SIDE, whole  # fits, does not fit
    while high - low > ALIGNMENT:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(engine, frame, held, middle, limit) else (low, middle)
    return max(SMALLEST_SIDE, low // ALIGNMENT * ALIGNMENT)


def _fits(engine: Engine, frame: Frame, held: int, side: int, limit: int) -> bool:
    window = largest_window(engine.network, frame, side)
    is_countable = (window.height + PADDING) * (window.width + PADDING) < MOST_PIXELS
    return is_countable and held + _window_bytes(engine, frame, side) <= limit


def _window_bytes(engine: Engine, frame: Frame, side: int) -> int:
    """Memory for the largest window of tiles of `side`: of the engine, and of a band of its result while it is stored.

    The engine's own band, in float32, is alive meanwhile.
    """
    window, scale = largest_window(engine.network, frame, side), engine.network.scale
    pixels = min(window.height, band_rows(window.width)) * window.width * scale**2
    return engine.footprint(window.height, window.width) + BYTES_WHILE_STORED * pixels


def largest_window(network: NetworkWeights, frame: Frame, side: int) -> Box:
    """Size of the largest window of tiles whose cores have `side` LR pixels, as a box at (0, 0)."""
    height, width = frame.size
    if side >= max(height, width):
        return Box(0, 0, height, width)
    reach = -(-side // ALIGNMENT) * ALIGNMENT + 2 * -(-network.context // ALIGNMENT) * ALIGNMENT
    return Box(0, 0, min(height, reach), min(width, reach))


def shared_limit(engine: Engine, execution: Execution) -> int:
    """Working memory of all runs of one Upscaler together, in bytes."""
    if execution.memory is not None:
        return execution.memory
    free = engine.free_bytes()
    return DEFAULT_LIMIT if free is None else int(free * DEVICE_SHARE)


class Keeper(Protocol):
    """Keeps results that make a later run faster."""

    def drop(self) -> None:
        """Free them. Must not wait for anything."""


class SharedMemory:
    """Working memory shared by the runs of one Upscaler, in bytes. Threads may share it.

    Runs get it in the order in which they asked. The rest may be taken by keepers, the oldest of which drop their
    results when a run needs the room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: WeakKeyDictionary[Keeper, int] = WeakKeyDictionary()
        self._holders: dict[int, int] = {}  # thread -> bytes
        self._waiting: deque[int] = deque()  # threads
        self._freed = threading.Condition()
        forks.register(self)

    def after_fork(self) -> None:
        """Keep what the thread that forked holds; see `forks`."""
        thread = threading.get_ident()
        self._holders = {own: held for own, held in self._holders.items() if own == thread}
        self._waiting, self._freed = deque(), threading.Condition()

    @property
    def used(self) -> int:
        """Bytes of what is running."""
        return sum(self._holders.values())

    @property
    def kept(self) -> int:
        """Bytes of all keepers."""
        return sum(self._kept.values())

    @contextmanager
    def lease(self, wanted: int, keeper: Keeper | None = None) -> Iterator[None]:
        """Wait until all that asked before have theirs and `wanted` bytes are free, and hold them.

        A run that is alone may exceed the limit. A thread that holds a lease gets a second one at once: it would wait
        for itself. keeper: one whose results are part of `wanted`.
        """
        thread = threading.get_ident()
        with self._freed:
            is_first = thread not in self._holders
            if is_first:
                self._wait_for(thread, wanted)
            kept = 0 if keeper is None else self._kept.pop(keeper, 0)
            self._holders[thread] = self._holders.get(thread, 0) + wanted
            self._make_room()
        try:
            yield
        finally:
            with self._freed:
                self._holders[thread] -= wanted
                if keeper is not None and kept:
                    self._kept[keeper] = kept
                if is_first:
                    del self._holders[thread]
                self._freed.notify_all()

    def _wait_for(self, thread: int, wanted: int) -> None:
        """Wait in the queue: where small runs passed a large one, it might wait forever."""
        self._waiting.append(thread)
        try:
            self._freed.wait_for(
                lambda: self._waiting[0] == thread and (not self.used or self.used + wanted <= self.limit)
            )
        finally:
            self._waiting.remove(thread)
            self._freed.notify_all()  # the next one may fit, too

    def keep(self, keeper: Keeper, size: int) -> None:
        """Count `size` bytes that a keeper holds, as long as it exists or until it has to drop them."""
        with self._freed:
            self._kept[keeper] = size
            self._make_room()

    def _make_room(self) -> None:
        for keeper in list(self._kept):
            if self.used + self.kept <= self.limit:
                return
            del self._kept[keeper]
            keeper.drop()
