"""Tails that are chains of 3x3 convs, those of ESRGAN and Compact: some rows at a time, and then to the image."""

import math
from itertools import accumulate
from operator import mul
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Memory, Needs, Size, read_by
from adadsr.geometry import Box
from adadsr.tiling import bands

Image = npt.NDArray[np.float32]

REGION_BYTES = 64 * 2**20
"""Approximate bytes of the canvases of one band of rows."""
FEWEST_ROWS = 16
"""Rows of z in a band at least: the rows around it are computed again."""
AROUND_ROWS = 5 * TILE
"""Rows of a region beyond its band: convs run in whole tiles and read a pixel around them."""
STEP_ROWS = 6
"""Rows of tiles of z per step of a band. Each step reads all weights again, which costs more than the results of a conv
that no longer fit into a cache."""


class TailConv(NamedTuple):
    """A conv and the PixelShuffle that its weights include. slope: of the PReLU between them."""

    weights: _native.TileWeights
    inputs: int
    factor: int
    slope: float


class PackedChainTail(NamedTuple):
    """A packed tail.

    factor: of the PixelShuffle from the last canvas to the image. adds_image: whether the LR image, upsampled by
    nearest neighbour, is added to it.
    """

    convs: tuple[TailConv, ...]
    factor: int
    outputs: int
    adds_image: bool

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        return sum(conv.weights.bytes for conv in self.convs)

    @property
    def scale(self) -> int:
        """Of the whole tail."""
        return self.factor * math.prod(conv.factor for conv in self.convs)

    @property
    def enlarged(self) -> list[int]:
        """Size of each canvas, one before each conv and one after the last, in that of z."""
        return list(accumulate((1, *(conv.factor for conv in self.convs)), mul))

    def needs(self, size: tuple[int, int], threads: int) -> Needs:
        """The canvases of a region, height x width, and a list of tiles."""
        channels = [*(conv.inputs for conv in self.convs), self.outputs * self.factor**2]
        sizes = [(size[0] * by, size[1] * by) for by in self.enlarged]
        tiles = max(-(-height // TILE) * -(-width // TILE) for height, width in sizes[:-1])
        precisions = [*(read_by(conv.weights) for conv in self.convs), "float32"]
        return Needs(
            canvases=tuple(
                Size(1, *each, count, precision)
                for each, count, precision in zip(sizes, channels, precisions, strict=True)
            ),
            positions=(tiles,),
            scratch=max(conv.weights.scratch_bytes(threads) for conv in self.convs),
        )

    def rows_at_once(self, width: int) -> int:
        """Rows of z in a band of this width."""
        row = sum(_native.Canvas.bytes_of(*size) for size in self.needs((TILE, width), 1).canvases) // TILE
        return max(FEWEST_ROWS, REGION_BYTES // row // TILE * TILE)

    def tallest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size of the regions of a window, height x width. All have one height, so that they share canvases."""
        height, width = size
        return min(height, self.rows_at_once(width) + AROUND_ROWS + height % TILE), width

    def run(self, memory: Memory, z: Lease, image: Image | None, box: Box, threads: int) -> Image:
        """Finished pixels of `box`, (N, s*h, s*w, outputs). image: the LR image, (N, H, W, outputs), if it is added."""
        batch, height, width, _ = z.images.shape
        window, scale = Box(0, 0, height, width), self.scale
        sr = np.empty((batch, box.height * scale, box.width * scale, self.outputs), np.float32)
        for part in bands(box, self.rows_at_once(width)):
            inside = part.relative_to(box).scaled(scale)
            image_part = None if image is None else image[:, part.slices[0], part.slices[1]]
            out = sr[:, inside.top : inside.bottom]
            self._run_band(memory, z, image_part, (part, self.region(part, window)), threads, out)
        return sr

    def _run_band(
        self, memory: Memory, z: Lease, image: Image | None, boxes: tuple[Box, Box], threads: int, out: Image
    ) -> None:
        """Finished pixels of a band, into `out`. boxes: the band, and its region. image: of the band, if it is added.

        A function of its own: when it returns, its canvases are free for the next band.
        """
        part, region = boxes
        rows, columns = region.slices
        start = part.relative_to(region).scaled(self.enlarged[-1])
        with memory.lease("tail", self.needs((region.height, region.width), threads)) as (canvases, lists):
            for number in range(z.images.shape[0]):
                each = slice(number, number + 1)
                run = _TailRun(self, canvases, lists, threads)
                run.convs(z.images[number, rows, columns], part.relative_to(region))
                added, last = None if image is None else image[each], canvases[-1].canvas
                _native.shuffle_pixels(last, out[each], start.top, start.left, self.factor, threads, added)

    def region(self, box: Box, window: Box) -> Box:
        """The part of a window that a box needs. It starts at a whole tile, so that no bit depends on the box."""
        seen, (rows, _) = self.seen(box, window)[0], self.tallest((window.height, window.width))
        top = min(seen.top // TILE * TILE, window.height - rows)
        return Box(top, seen.left // TILE * TILE, top + rows, seen.right)

    def seen(self, box: Box, window: Box) -> list[Box]:
        """The part of each canvas that the pixels of a box of z depend on; a conv runs in whole tiles."""
        needed = box.scaled(self.enlarged[-1])
        parts = [needed]
        for conv, by in zip(reversed(self.convs), reversed(self.enlarged[:-1]), strict=True):
            tiles = needed.coarse(conv.factor * TILE).scaled(TILE)
            needed = tiles.grown(1, window.scaled(by))
            parts.append(needed)
        return parts[::-1]


class _TailRun:
    """The convs of a tail on one image."""

    def __init__(self, tail: PackedChainTail, canvases: list[Lease], lists: Lists, threads: int) -> None:
        self.tail, self.threads, self.scratch, (self.tiles,) = tail, threads, lists.scratch, lists.positions
        self.canvases = [lease.canvas for lease in canvases]
        self.sizes: list[tuple[int, int]] = [lease.images.shape[1:3] for lease in canvases]

    def convs(self, region: Image, box: Box) -> None:
        """Run all convs on z in a region, (h, w, C), as far as a box of it needs them."""
        self.canvases[0].copy_from(region[None], self.threads)
        height, width = self.sizes[0]
        seen = self.tail.seen(box, Box(0, 0, height, width))
        done = [part.top // (TILE * conv.factor) for part, conv in zip(seen[1:], self.tail.convs, strict=True)]
        step = STEP_ROWS * TILE
        for target in range(step, height + step, step):
            ready = min(target, height)
            for number, conv in enumerate(self.tail.convs):
                ready = self._run_conv(number, conv, done, ready, seen[number + 1].bottom)

    def _run_conv(self, number: int, conv: TailConv, done: list[int], ready: int, bottom: int) -> int:
        """Run a conv as far as its input rows are `ready` and its output is needed. Returns rows of its output."""
        height, width = self.sizes[number]
        rows = -(-height // TILE) if ready >= height else max(0, ready - 1) // TILE
        rows = max(done[number], min(rows, -(-bottom // (TILE * conv.factor))))
        columns = -(-width // TILE)
        self.tiles.span(done[number] * columns, rows * columns)
        source, out = self.canvases[number], self.canvases[number + 1]
        _native.conv_tiles(conv.weights, source, out, self.tiles, self.scratch, self.threads, slope=conv.slope)
        done[number] = rows
        return min(rows * TILE, height) * conv.factor
