"""Cutting a large image into tiles whose results, put together, are the result of the whole."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from adadsr.errors import InputError


class Box(NamedTuple):
    """A rectangle of pixels: rows top..bottom and columns left..right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def scaled(self, factor: int) -> "Box":
        """The same rectangle in an image enlarged by `factor`."""
        return Box(*(edge * factor for edge in self))

    def coarse(self, tile: int) -> "Box":
        """The same rectangle counted in tiles of `tile` pixels; starts at a tile, a partial last tile counts."""
        return Box(self.top // tile, self.left // tile, -(-self.bottom // tile), -(-self.right // tile))

    def relative_to(self, other: "Box") -> "Box":
        """The same rectangle counted from the top left of `other`."""
        return Box(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def grown(self, margin: int, within: "Box") -> "Box":
        """The rectangle with `margin` more pixels on each side, clipped to `within`."""
        return Box(
            max(within.top, self.top - margin),
            max(within.left, self.left - margin),
            min(within.bottom, self.bottom + margin),
            min(within.right, self.right + margin),
        )

    def of(self, image: Tensor) -> Tensor:
        """That part of an image (..., H, W), a view."""
        return image[..., self.top : self.bottom, self.left : self.right]


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
        for top in _starts(height, side)
        for left in _starts(width, side)
    ]
    return [Tile(core, core.grown(context, image)) for core in cores]


def _starts(size: int, side: int) -> range:
    return range(0, size, side)


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
