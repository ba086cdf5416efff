"""One run of a tail: its last two convs are folded into one, and earlier convs apply PixelShuffle as they write.

All convs advance together, a few rows of tiles at a time: a conv runs as far as its input rows are complete.
"""

import math
import operator
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.packing import PackedTail
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Needs, Size, read_by
from adadsr.geometry import Box

Image = npt.NDArray[np.float32]

STEP_PIXELS = 2**14
"""Approximate number of pixels of z per step; their results should stay in cache until they are read."""
REACH = 2
"""Rows that the folded conv reads below those it writes."""


def tail_needs(tail: PackedTail, size: tuple[int, int], threads: int) -> Needs:
    """A canvas for the input of each conv, with the last two as one, and the maximum number of tiles per conv call.

    size: height and width of a region of one image.
    """
    height, width = size
    enlarged = accumulate((1, *tail.factors[:-1]), operator.mul)
    precisions = [*(read_by(stage) for stage in tail.stages), "float32"]
    canvases = [
        Size(1, height * by, width * by, count, precision)
        for by, count, precision in zip(enlarged, tail.channels, precisions, strict=True)
    ]
    tiles = [-(-size.height // TILE) * -(-size.width // TILE) for size in canvases[:-1]]
    scratch = max((stage.scratch_bytes(threads) for stage in tail.stages), default=0)
    return Needs(tuple(canvases), positions=(max(tiles, default=0),), scratch=scratch)


def region_of(tail: PackedTail, box: Box, window: Box) -> Box:
    """The part of a window that the tail reads for the SR pixels of `box`; no bit of a pixel depends on its box.

    The folded conv is direct and needs only the pixels it reads. Convs before it run in whole tiles, in which the
    rounding of a pixel depends on the whole tile and one pixel around it.
    """
    if not tail.stages:
        return box.grown(REACH, window)
    seen = box.grown(REACH - 1, window)
    tiles = Box(*(edge * TILE for edge in seen.coarse(TILE)))
    around = tiles.grown(1, window)
    return Box(around.top // TILE * TILE, around.left // TILE * TILE, around.bottom, around.right)


class TailRun:
    """The convs of a tail on one image."""

    def __init__(self, tail: PackedTail, canvases: list[Lease], lists: Lists, threads: int) -> None:
        """canvases, lists: as in `tail_needs` for the region that is run."""
        self.tail, self.threads, self.scratch = tail, threads, lists.scratch
        self.canvases, sizes = [lease.canvas for lease in canvases], [lease.images.shape for lease in canvases]
        self.heights: list[int] = [size[1] for size in sizes]
        self.columns: list[int] = [-(-size[2] // TILE) for size in sizes]
        (self.tiles,) = lists.positions

    def run(self, region: Image) -> Image:
        """region: (h, w, C). Returns (s*h, s*w, outputs)."""
        height, width, _ = region.shape
        self.canvases[0].copy_from(region[None], self.threads)
        scale, factor = math.prod(self.tail.factors), self.tail.factors[-1]
        out = np.empty((height * scale, width * scale, self.tail.outputs), np.float32)
        step = max(1, STEP_PIXELS // (self.columns[0] * TILE**2))
        done, upsampled = [0] * len(self.tail.stages), 0
        for rows in range(step, self._tile_rows(0) + step, step):
            ready = min(rows * TILE, self.heights[0])
            for stage, before in enumerate(self.tail.factors[:-1]):
                ready = self._run_stage(stage, done, ready) * before
            bottom = ready if ready == self.heights[-1] else max(upsampled, ready - REACH)
            band = out[None, upsampled * factor : bottom * factor]
            _native.upsample(self.tail.upsampling, self.canvases[-1], band, upsampled, bottom, self.threads)
            upsampled = bottom
        return out

    def _run_stage(self, stage: int, done: list[int], ready: int) -> int:
        """Run a conv as far as its input rows are `ready`. Returns the number of input rows that it has processed."""
        whole = ready == self.heights[stage]
        tile_rows = self._tile_rows(stage) if whole else max(done[stage], (ready - 1) // TILE)
        columns, (source, out) = self.columns[stage], self.canvases[stage : stage + 2]
        self.tiles.span(done[stage] * columns, tile_rows * columns)
        _native.conv_tiles(self.tail.stages[stage], source, out, self.tiles, self.scratch, self.threads)
        done[stage] = tile_rows
        return min(tile_rows * TILE, self.heights[stage])

    def _tile_rows(self, stage: int) -> int:
        return -(-self.heights[stage] // TILE)


def upsample_rows(tail: PackedTail, source: _native.Canvas, rows: slice, width: int, threads: int) -> Image:
    """SR pixels of some rows of a canvas with one image, for a tail that consists of the folded conv only.

    Returns (s*rows, s*width, outputs).
    """
    (factor,) = tail.factors
    out = np.empty(((rows.stop - rows.start) * factor, width * factor, tail.outputs), np.float32)
    _native.upsample(tail.upsampling, source, out[None], rows.start, rows.stop, threads)
    return out
