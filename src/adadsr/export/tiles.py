"""Features as lists of tiles, deepest first, for networks with one depth per 4x4 tile.

Tiles lie in chunks of m, each (16, m, C): pixel by pixel of a tile, tile by tile, channels innermost. All chunks
together are a table of rows, one for each pixel; row `16 m K - 1` of K chunks belongs to no tile, and is zero. It
stands for all pixels beyond the frame.
"""

from typing import NamedTuple

import numpy as np

from adadsr.export.active import Active, Positions, deepest_first, ranks_of, steps, table_rows
from adadsr.export.nodes import Nodes
from adadsr.export.values import FLOAT, INDEX, INT, Value
from adadsr.export.winograd import PIXELS, TILE, WINDOW, TileConv
from adadsr.graph import ConvWeights

CHUNK = 128
"""Tiles that run at once: few enough that their products stay in a processor's cache, and enough that reading the
weights for each chunk, and starting its operators, does not show."""
BEYOND = 2 * TILE + 1
"""Rows of pixels below the last tile that belong to no tile."""


class TileOrder(NamedTuple):
    """The tiles of a frame in the order of a depth map; see `active.Order`.

    depths: (K, m) of INDEX, 0 where there is no tile. windows: rows of the pixels that a conv reads, (K, 36, m) of
    INDEX. sources: number of each row's pixel in the frame, (K, 16, m) of INT, or `pixels` if there is none. rows: row
    of each pixel, (h * w,) of INDEX.
    """

    pixels: Value
    depths: Value
    windows: Value
    sources: Value
    rows: Value

    def table(self, features: Value) -> Value:
        """(K, 16, m, C)."""
        return table_rows(features, self.sources)

    def features(self, table: Value, height: Value, width: Value) -> Value:
        pixels = table.reshape(-1, table.size(3)).take(self.rows, 0)
        return pixels.reshape(1, height, width, -1).transpose(0, 3, 1, 2)

    def conv(self, conv: ConvWeights) -> TileConv:
        return TileConv.of(self.depths.nodes, conv, CHUNK)

    def positions(self, block: int) -> Positions:
        # Hidden features count as zero outside the active tiles, so both convs run at the same ones.
        active = Active.of(self.depths, self.windows, CHUNK, block)
        last = (active.chunks * (CHUNK * PIXELS) - 1).cast(INDEX)
        return Positions(active, active, self.depths.nodes.count(active.chunks), last)

    def inside(self, chunks: Value) -> Value:
        return (self.sources.first(chunks) < self.pixels).cast(FLOAT)


def order_tiles(depths: Value, height: Value, width: Value) -> TileOrder:
    """The tiles of a frame of height x width pixels by their depths, (h, w) of INDEX."""
    nodes, columns = depths.nodes, depths.size(1)
    none = (depths.size(0) + 1) * columns  # a tile below the frame
    ordered, tiles, order = deepest_first(depths, CHUNK, none)
    tiles = tiles.unsqueeze(1)
    top, left = tiles // columns * TILE, tiles % columns * TILE
    pixel_rows = _pixel_rows(nodes, order, depths).slice([0, 0], [height, width], [0, 1])
    seen_width = columns * TILE + 2
    last = (tiles.size(0) * (CHUNK * PIXELS) - 1).cast(INDEX)
    below, beside = depths.size(0) * TILE + BEYOND - height, seen_width - 1 - width
    around = pixel_rows.pad([1, 1], [below, beside], last).reshape(-1)
    windows = around.take((top + steps(nodes, WINDOW)) * seen_width + left + steps(nodes, WINDOW, across=True), 0)
    y, x = top + steps(nodes, TILE), left + steps(nodes, TILE, across=True)
    is_inside = (y < height) & (x < width)
    sources = nodes.where(is_inside, y * width + x, height * width)
    return TileOrder(height * width, ordered, windows, sources, pixel_rows.reshape(-1))


def _pixel_rows(nodes: Nodes, order: Value, depths: Value) -> Value:
    """Row of each pixel of the tiles, (4h, 4w) of INDEX."""
    rank = ranks_of(order)
    first = rank // CHUNK * (CHUNK * PIXELS) + rank % CHUNK
    height, width = depths.size(0), depths.size(1)
    offsets = nodes.constant(np.arange(PIXELS).reshape(TILE, 1, TILE) * CHUNK, INT)
    rows = first.reshape(height, 1, width, 1) + offsets
    return rows.reshape(height * TILE, width * TILE).cast(INDEX)
