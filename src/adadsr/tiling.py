"""Cut a large image into tiles whose joined results equal the result of the whole."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.geometry import Box


class Tile(NamedTuple):
    """core: the part of the result that a tile contributes. window: what it reads for that, clipped to the image."""

    core: Box
    window: Box


def plan_tiles(height: int, width: int, side: int, context: int, align: int = 1, border: int = 0) -> tuple[Tile, ...]:
    """Tiles in raster order whose cores cover an image exactly once.

    side: maximum side of a core, in pixels. context: how far a window extends beyond it. Both are rounded up to a
    multiple of `align`, so that cores and windows start at whole depth tiles. border: width of a border around the
    image that windows may read; coordinates begin there. Raises InputError if side is below 1.
    """
    if side < 1:
        raise InputError(f"tile={side} must be at least 1 LR pixel")
    side, context = (-(-value // align) * align for value in (side, context))
    bottom, right = height + border, width + border
    cores = [
        Box(top, left, min(top + side, bottom), min(left + side, right))
        for top in range(border, bottom, side)
        for left in range(border, right, side)
    ]
    frame = Box(0, 0, bottom + border, right + border)
    return tuple(Tile(core, core.grown(context, frame)) for core in cores)


def depth_cap(tile: Tile, reaches: Sequence[int], margin: int, depth_tile: int) -> npt.NDArray[np.float32]:
    """Depth that each position of a tile's window needs for the core to be exact.

    reaches: of the blocks in order, in pixels. The last block's output is needed up to `margin` pixels around the core,
    and the output of each earlier block further by the reach of the next one. The cap is a whole number of blocks, so
    gates below it do not change. Returns (ceil(h/t), ceil(w/t)) of the window, in blocks.
    """
    rows = _distance(tile.window.top, tile.window.bottom, tile.core.top, tile.core.bottom, depth_tile)
    columns = _distance(tile.window.left, tile.window.right, tile.core.left, tile.core.right, depth_tile)
    beyond = np.maximum(rows[:, None], columns[None, :]) - margin
    from_the_end = np.cumsum([0, *reversed(reaches)])
    not_needed = np.searchsorted(from_the_end, beyond.clip(0))
    cap: npt.NDArray[np.float32] = (len(reaches) - not_needed).clip(0).astype(np.float32)
    return cap


def _distance(start: int, end: int, core_start: int, core_end: int, depth_tile: int) -> npt.NDArray[np.int64]:
    """Distance in pixels from each position of an axis to the core; a tile's distance is that of its nearest pixel."""
    first = np.arange(start, end, depth_tile)
    last = (first + depth_tile - 1).clip(max=end - 1)
    distance: npt.NDArray[np.int64] = np.maximum(core_start - last, first - (core_end - 1)).clip(0)
    return distance


def bands(box: Box, rows: int) -> Iterator[Box]:
    """Cut a box into horizontal bands of at most `rows` rows."""
    for top in range(box.top, box.bottom, rows):
        yield Box(top, box.left, min(top + rows, box.bottom), box.right)
