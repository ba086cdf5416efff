"""Features as a list of pixels, deepest first, for networks with one depth per pixel.

A block changes its active pixels, and needs hidden features at those and their neighbours. So pixels are sorted twice:
by the largest depth of their 3x3 neighbours for the first conv, and by their own for the second. Rows of the table are
in the first order. Its last row belongs to no pixel, and is zero. It stands for all pixels beyond the frame.
"""

from typing import NamedTuple

from adadsr.export.active import Active, Positions, deepest_first, ranks_of, steps, table_rows
from adadsr.export.nodes import Nodes
from adadsr.export.values import FLOAT, INDEX, Value
from adadsr.graph import ConvWeights

CHUNK = 512
"""Pixels that run at once; see `tiles.CHUNK`."""
WINDOW = 3
"""Side of what a 3x3 conv reads for a pixel."""


class PixelConv(NamedTuple):
    """A 3x3 conv as one product; see `active.RowConv`. weight: (9 * inputs, outputs)."""

    weight: Value
    bias: Value
    inputs: int
    outputs: int

    @classmethod
    def of(cls, nodes: Nodes, conv: ConvWeights) -> "PixelConv":
        """Order the weights in the graph: runtimes do it once."""
        outputs, inputs = conv.weight.shape[:2]
        weight = nodes.weight(conv.weight).transpose(2, 3, 1, 0).reshape(WINDOW**2 * inputs, outputs)
        return cls(weight, nodes.weight(conv.bias), inputs, outputs)

    def run(self, rows: Value, windows: Value) -> Value:
        """(m, outputs)."""
        seen = rows.take(windows.transpose(1, 0), 0)
        return seen.reshape(-1, WINDOW**2 * self.inputs) @ self.weight


class PixelOrder(NamedTuple):
    """The pixels of a frame in the order of a depth map; see `active.Order`.

    sources: pixels in the first order, (K, m) of INT, or `pixels` if there is none. rows: row of each pixel, (h * w,)
    of INT. numbers: rows in the second order, (K, m) of INT. hidden_depths, depths, hidden_windows, windows: of the
    first and the second order, (K, m) and (K, 9, m) of INDEX.
    """

    pixels: Value
    sources: Value
    rows: Value
    numbers: Value
    hidden_depths: Value
    hidden_windows: Value
    depths: Value
    windows: Value

    def table(self, features: Value) -> Value:
        """(K * m, C)."""
        return table_rows(features, self.sources.reshape(-1))

    def features(self, table: Value, height: Value, width: Value) -> Value:
        return table.take(self.rows, 0).reshape(1, height, width, -1).transpose(0, 3, 1, 2)

    def conv(self, conv: ConvWeights) -> PixelConv:
        return PixelConv.of(self.depths.nodes, conv)

    def positions(self, block: int) -> Positions:
        hidden = Active.of(self.hidden_depths, self.hidden_windows, CHUNK, block)
        changed = Active.of(self.depths, self.windows, CHUNK, block)
        return Positions(hidden, changed, self.numbers.first(changed.chunks), (hidden.chunks * CHUNK - 1).cast(INDEX))

    def inside(self, chunks: Value) -> Value:
        return (self.numbers.first(chunks) < self.pixels).cast(FLOAT)


def order_pixels(depths: Value, height: Value, width: Value) -> PixelOrder:
    """The pixels of a frame of height x width pixels by their depths, (h, w) of INDEX."""
    nodes, pixels = depths.nodes, height * width
    hidden_depths, sources, order = deepest_first(dilated(depths.unsqueeze(0, 1)).reshape(height, width), CHUNK, pixels)
    own_depths, changed, _ = deepest_first(depths, CHUNK, pixels)
    rows = ranks_of(order)
    last = sources.size(0) * CHUNK - 1
    # Padded with zeros: with constant widths, OpenVINO takes no other value that is not constant.
    around = ((rows - last).reshape(height, width).pad([1, 1], [2, 1]) + last).cast(INDEX).reshape(-1)

    def windows(numbers: Value) -> Value:
        """(K, 9, m); what a missing pixel reads does not matter."""
        numbers, seen_width = numbers.unsqueeze(1), width + 2
        top, left = numbers // width + steps(nodes, WINDOW), numbers % width + steps(nodes, WINDOW, across=True)
        return around.take(top * seen_width + left, 0)

    numbers = nodes.concatenate([rows, last.reshape(1)], 0).take(changed, 0)
    seen = windows(sources), windows(changed)
    return PixelOrder(pixels, sources, rows, numbers, hidden_depths, seen[0], own_depths, seen[1])


def dilated(depths: Value) -> Value:
    """The largest depth of each pixel's 3x3 neighbours; depths: (1, G, h, w) of INDEX, >= 0."""
    return depths.cast(FLOAT).dilated().cast(INDEX)
