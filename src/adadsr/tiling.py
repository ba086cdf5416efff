"""Cutting a large image into tiles whose results, put together, are the result of the whole."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from adadsr.errors import InputError
from adadsr.geometry import Box


class Tile(NamedTuple):
    """core: what a tile contributes to the result. window: what has to be read for it, clipped to the image."""

    core: Box
    window: Box


def plan_tiles(height: int, width: int, side: int, context: int, align: int = 1) -> list[Tile]:
    """Tiles in raster order whose cores cover an image exactly once.

    side: largest side of a core, in pixels. context: how much further a window reaches. Both are rounded up to a
    multiple of `align`, so that cores and windows start at whole depth tiles.
    """
    if side < 1:
        raise InputError(f"tile={side} is not a number of LR pixels; it is at least 1")
    side, context = (-(-value // align) * align for value in (side, context))
    image = Box(0, 0, height, width)
    cores = [
        Box(top, left, min(top + side, height), min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    return [Tile(core, core.grown(context, image)) for core in cores]


def depth_cap(tile: Tile, n_blocks: int, margin: int, depth_tile: int) -> Tensor:
    """How deep each position of a tile's window has to go so that the core comes out exactly.

    A block's output is needed `margin` pixels around the core after the last block, and two pixels further (two 3x3
    convs) for each block before it. The cap is a whole number of blocks, so that the gates below it do not change.
    Returns (ceil(h/t), ceil(w/t)) of the window, in blocks.
    """
    rows = _distance(tile.window.top, tile.window.bottom, tile.core.top, tile.core.bottom, depth_tile)
    columns = _distance(tile.window.left, tile.window.right, tile.core.left, tile.core.right, depth_tile)
    beyond = torch.maximum(rows[:, None], columns[None, :]) - margin
    return (n_blocks - torch.ceil(beyond.clamp_min(0) / 2)).clamp(0, n_blocks)


def _distance(start: int, end: int, core_start: int, core_end: int, depth_tile: int) -> Tensor:
    """Distance in pixels from each position of an axis to the core: of a tile, that of its nearest pixel."""
    first = torch.arange(start, end, depth_tile, dtype=torch.float32)
    last = (first + depth_tile - 1).clamp_max(end - 1)
    return torch.maximum(core_start - last, first - (core_end - 1)).clamp_min(0)


def bands(box: Box, rows: int) -> Iterator[Box]:
    """A box cut into horizontal bands of at most `rows` rows."""
    for top in range(box.top, box.bottom, rows):
        yield Box(top, box.left, min(top + rows, box.bottom), box.right)
