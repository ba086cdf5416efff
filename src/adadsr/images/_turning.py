"""Orientations of EXIF: pixels and positions of the stored picture in the upright one."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from adadsr.images._picture import Pixels

Size: TypeAlias = tuple[int, int]
"""Width and height."""

# EXIF orientation -> (swap rows with columns, then reverse rows, then reverse columns)
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# EXIF orientation -> (x, y) of the upright picture, from those of the stored one, all 0..1
TURNS: dict[int, Callable[[float, float], tuple[float, float]]] = {
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}


def turned_point(orientation: int, x: float, y: float) -> tuple[float, float]:
    """A point of the stored picture in the upright one; both in 0..1."""
    turn = TURNS.get(orientation)
    return turn(x, y) if turn else (x, y)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels (H, W, C) upright by the EXIF tag `orientation`; outside 1..8 it counts as 1."""
    swap, reverse_rows, reverse_columns = _ORIENTATIONS.get(orientation, _ORIENTATIONS[1])
    if swap:
        pixels = pixels.swapaxes(0, 1)
    if reverse_rows:
        pixels = pixels[::-1]
    if reverse_columns:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
