"""Features as lists of tiles, deepest first, so that the tiles that a block needs are the first of the list.

Active sets are nested: a block runs at the first `count` tiles of one order for all blocks. Tiles lie in chunks of m,
each (16, m, C): pixel by pixel of a tile, tile by tile, channels innermost. All chunks together are a table of rows,
one for each pixel; row `16 m K - 1` of K chunks belongs to no tile, and is zero. It stands for all pixels beyond the
frame.
"""

from typing import NamedTuple

import numpy as np

from adadsr.export.nodes import Nodes
from adadsr.export.values import FLOAT, INDEX, INT, Value

TILE = 4
"""Side of a tile in pixels."""
WINDOW = TILE + 2
"""Side of what a 3x3 conv reads for it."""
PIXELS, SEEN = TILE**2, WINDOW**2
BEYOND = 2 * TILE + 1
"""Rows of pixels below the last tile that belong to no tile."""


class TileOrder(NamedTuple):
    """The tiles of a frame in the order of a depth map.

    chunk: m, tiles per chunk. pixels: of the frame, INT. depths: (K, m) of INDEX, 0 where there is no tile. windows:
    rows of the pixels that a conv reads, (K, 36, m) of INDEX. sources: number of each row's pixel in the frame, (K, 16,
    m) of INT, or `pixels` if there is none. rows: row of each pixel, (h * w,) of INDEX.
    """

    chunk: int
    pixels: Value
    depths: Value
    windows: Value
    sources: Value
    rows: Value

    @property
    def inside(self) -> Value:
        """1 in rows of pixels of the frame, otherwise 0: (K, 16, m) of FLOAT."""
        return (self.sources < self.pixels).cast(FLOAT)

    def table(self, features: Value) -> Value:
        """Features (1, C, h, w) as chunks, (K, 16, m, C)."""
        channels = features.size(1)
        pixels = features.transpose(0, 2, 3, 1).reshape(-1, channels)
        zero = features.nodes.full(features.nodes.constant(0, features.dtype), 1, channels)
        return features.nodes.concatenate([pixels, zero], 0).take(self.sources, 0)

    def features(self, table: Value, height: Value, width: Value) -> Value:
        """Chunks (K, 16, m, C) as features (1, C, h, w)."""
        pixels = table.reshape(-1, table.size(3)).take(self.rows, 0)
        return pixels.reshape(1, height, width, -1).transpose(0, 3, 1, 2)


def order_tiles(depths: Value, height: Value, width: Value, chunk: int) -> TileOrder:
    """The tiles of a frame of height x width pixels by their depths, (h, w) of INDEX."""
    nodes, columns = depths.nodes, depths.size(1)
    count = depths.size(0) * columns
    chunks = count // chunk + 1
    sorted_depths, order = nodes.ops(
        "TopK", depths.reshape(-1), nodes.ints(count), dtypes=[INDEX, INT], axis=0, largest=1, sorted=1
    )
    missing = chunks * chunk - count
    none = (depths.size(0) + 1) * columns  # a tile below the frame
    tiles = nodes.concatenate([order, nodes.full(none, missing)], 0).reshape(-1, 1, chunk)
    padded = nodes.concatenate([sorted_depths, nodes.full(nodes.constant(0, INDEX), missing)], 0)
    top, left = tiles // columns * TILE, tiles % columns * TILE
    pixel_rows = _pixel_rows(nodes, order, depths, chunk).slice([0, 0], [height, width], [0, 1])
    seen_width = columns * TILE + 2
    last = (chunks * (chunk * PIXELS) - 1).cast(INDEX)
    below, beside = depths.size(0) * TILE + BEYOND - height, seen_width - 1 - width
    around = pixel_rows.pad([1, 1], [below, beside], last).reshape(-1)
    windows = around.take((top + _steps(nodes, WINDOW)) * seen_width + left + _steps(nodes, WINDOW, across=True), 0)
    y, x = top + _steps(nodes, TILE), left + _steps(nodes, TILE, across=True)
    is_inside = (y < height) & (x < width)
    sources = nodes.where(is_inside, y * width + x, height * width)
    return TileOrder(chunk, height * width, padded.reshape(-1, chunk), windows, sources, pixel_rows.reshape(-1))


def _steps(nodes: Nodes, side: int, *, across: bool = False) -> Value:
    """Row, or column, of each pixel of a square in raster order, (side^2, 1)."""
    numbers = np.arange(side**2)
    return nodes.constant((numbers % side if across else numbers // side).reshape(-1, 1), INT)


def _pixel_rows(nodes: Nodes, order: Value, depths: Value, chunk: int) -> Value:
    """Row of each pixel of the tiles, (4h, 4w) of INDEX."""
    rank = nodes.op("ScatterElements", order, order, nodes.count(order.size(0)), axis=0)
    first = rank // chunk * (chunk * PIXELS) + rank % chunk
    height, width = depths.size(0), depths.size(1)
    offsets = nodes.constant(np.arange(PIXELS).reshape(TILE, 1, TILE) * chunk, INT)
    rows = first.reshape(height, 1, width, 1) + offsets
    return rows.reshape(height * TILE, width * TILE).cast(INDEX)


class Active(NamedTuple):
    """What a block needs of a `TileOrder`.

    chunks: k, the number of chunks with all active tiles and at least one other, INT. numbers: theirs, (k,) of INT.
    tiles: which of their tiles are active, (k, m) of BOOL. last: the last row of these chunks, INDEX; in hidden
    features it is zero.
    """

    chunks: Value
    numbers: Value
    tiles: Value
    last: Value

    @classmethod
    def of(cls, order: TileOrder, block: int) -> "Active":
        """For block `block`, counted from 0."""
        is_active = order.depths > block
        count = is_active.cast(INDEX).sum().cast(INT)
        chunks = count // order.chunk + 1
        last = (chunks * (order.chunk * PIXELS) - 1).cast(INDEX)
        return cls(chunks, is_active.nodes.count(chunks), is_active.first(chunks), last)
