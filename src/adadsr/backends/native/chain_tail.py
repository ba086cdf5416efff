"""Tails that are chains of 3x3 convs, those of ESRGAN and Compact.

Their canvases hold a window of rows, which passes down the image, and each conv reads from cache what the one before it
has just written. Rows that convs still need when the window moves are moved to its top.
"""

import math
from itertools import accumulate
from operator import mul
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Memory, Needs, Size, read_by
from adadsr.geometry import Box

Image = npt.NDArray[np.float32]

WINDOW_BYTES = 48 * 2**20
"""Approximate bytes of the canvases of a window. Each of its steps reads all weights again, which costs more than
results of a conv that no longer fit into a cache."""
FEWEST_ROWS = 6 * TILE
"""Rows of z in a window at least; convs need up to 4 * TILE of them again."""


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

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of z in a window over a z of this size.

        A window below the top one ends where a tile does, or with z.
        """
        height, width = size
        fewest = FEWEST_ROWS + height % TILE
        least = self.needs((fewest, width), 1).bytes
        per_tile = self.needs((fewest + TILE, width), 1).bytes - least
        return min(height, fewest + max(0, WINDOW_BYTES - least) // per_tile * TILE), width

    def run(self, memory: Memory, z: Lease, image: Image | None, box: Box, threads: int) -> Image:
        """Finished pixels of `box`, (N, s*h, s*w, outputs). image: the LR image, (N, H, W, outputs), if it is added."""
        batch, height, width, _ = z.images.shape
        needed = self.needed(box, (height, width))
        # Starts at a whole tile, so that no bit depends on the box.
        columns = slice(needed[0].left // TILE * TILE, needed[0].right)
        size = self.window((height, columns.stop - columns.start))
        left = needed[-1].left - columns.start * self.enlarged[-1]
        sr = np.empty((batch, box.height * self.scale, box.width * self.scale, self.outputs), np.float32)
        with memory.lease("tail", self.needs(size, threads)) as (canvases, lists):
            for number in range(batch):
                each = slice(number, number + 1)
                added = None if image is None else image[each, box.top : box.bottom, box.left : box.right]
                run = _TailRun(self, canvases, lists, threads, needed, height)
                run.run(z.images[each, :, columns], added, left, sr[each])
        return sr

    def needed(self, box: Box, size: tuple[int, int]) -> list[Box]:
        """The part of each canvas that the pixels of a box of z depend on; a conv runs in whole tiles.

        size: of z. As if canvases held all of it.
        """
        window, part = Box(0, 0, *size), box.scaled(self.enlarged[-1])
        parts = [part]
        for conv, by in zip(reversed(self.convs), reversed(self.enlarged[:-1]), strict=True):
            tiles = part.coarse(conv.factor * TILE).scaled(TILE)
            part = tiles.grown(1, window.scaled(by))
            parts.append(part)
        return parts[::-1]


class _TailRun:
    """The convs of a tail on one image. Rows and tiles count from the top of the image, not of the window.

    needed: of each canvas. height: of z.
    """

    def __init__(
        self, tail: PackedChainTail, canvases: list[Lease], lists: Lists, threads: int, needed: list[Box], height: int
    ) -> None:
        self.tail, self.threads, self.scratch, (self.tiles,) = tail, threads, lists.scratch, lists.positions
        self.canvases, self.rows = [lease.canvas for lease in canvases], [lease.images[0] for lease in canvases]
        self.needed, self.height = needed, height
        self.top = self._window_from(needed[0].top)
        self.done = [part.top // (TILE * conv.factor) for part, conv in zip(needed[1:], tail.convs, strict=True)]
        """Rows of tiles that each conv has run at or need not run at."""

    def run(self, z: Image, added: Image | None, left: int, out: Image) -> None:
        """Finished pixels, into `out`. z: (1, H, w, C). added: to the pixels. left: first column of the last canvas."""
        bottom, stored = self.needed[-1].bottom, self.needed[-1].top
        while True:
            end = self.top + len(self.rows[0])
            self.canvases[0].copy_from(z[:, self.top : end], self.threads)
            for number in range(len(self.tail.convs)):
                end = self._run_conv(number, end)
            end = min(end, bottom)
            if end > stored:
                self._store(stored, end, added, left, out)
                stored = end
            if stored == bottom:
                return
            self._move()

    def _store(self, start: int, end: int, added: Image | None, left: int, out: Image) -> None:
        """Store finished rows of the last canvas."""
        first, factor = self.needed[-1].top, self.tail.factor
        rows = out[:, (start - first) * factor : (end - first) * factor]
        image = None if added is None else added[:, start - first : end - first]
        above = start - self.top * self.tail.enlarged[-1]
        _native.shuffle_pixels(self.canvases[-1], rows, above, left, factor, self.threads, image)

    def _run_conv(self, number: int, ready: int) -> int:
        """Run a conv as far as its input rows end at `ready` and its output is needed. Returns where that ends."""
        conv, by, (_, width, _) = self.tail.convs[number], self.tail.enlarged[number], self.rows[number].shape
        height, columns, top = self.height * by, -(-width // TILE), self.top * by // TILE
        tiles = -(-height // TILE) if ready >= height else max(0, ready - 1) // TILE
        done = max(self.done[number], min(tiles, -(-self.needed[number + 1].bottom // (TILE * conv.factor))))
        self.tiles.span((self.done[number] - top) * columns, (done - top) * columns)
        source, out = self.canvases[number], self.canvases[number + 1]
        _native.conv_tiles(conv.weights, source, out, self.tiles, self.scratch, self.threads, slope=conv.slope)
        self.done[number] = done
        return min(done * TILE, height) * conv.factor

    def _move(self) -> None:
        """Move the window down as far as no conv needs the rows above it: the next tiles read a row above them."""
        needs = [(done - 1) * TILE for done in self.done]
        enlarged, top = self.tail.enlarged, self.top
        self.top = self._window_from(min(row // by for row, by in zip(needs, enlarged[:-1], strict=True)))
        for number in range(1, len(needs)):
            old, new = top * enlarged[number], self.top * enlarged[number]
            start, ready = max(needs[number], new), self.done[number - 1] * TILE * self.tail.convs[number - 1].factor
            rows = self.rows[number]
            rows[start - new : ready - new] = rows[start - old : ready - old]

    def _window_from(self, row: int) -> int:
        """First row of the lowest window of z that holds a row of it and starts at a whole tile."""
        return min(max(row, 0) // TILE * TILE, self.height - len(self.rows[0]))
