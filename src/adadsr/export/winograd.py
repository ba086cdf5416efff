"""3x3 convs at tiles by Winograd's F(4x4, 3x3) (arXiv:1509.09308), as three products for each chunk of tiles."""

from typing import NamedTuple

import numpy as np

from adadsr.export.nodes import Nodes
from adadsr.export.values import Value
from adadsr.graph import ConvWeights

TILE = 4
"""Side of a tile in pixels."""
WINDOW = TILE + 2
"""Side of what a 3x3 conv reads for it."""
PIXELS, SEEN = TILE**2, WINDOW**2

# Of one dimension, for the points 0, 1, -1, 2, -2 and infinity.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
_KERNEL_DIVISOR = 24
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _both(matrix: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """The same for both dimensions of a square in raster order."""
    return np.kron(matrix, matrix).astype(np.float64)


class TileConv(NamedTuple):
    """A conv prepared in a graph, for chunks of m tiles; see `active.RowConv`. weight: (36, inputs, outputs)."""

    weight: Value
    bias: Value
    chunk: int
    inputs: int
    outputs: int

    @classmethod
    def of(cls, nodes: Nodes, conv: ConvWeights, chunk: int) -> "TileConv":
        """Transform the weights in the graph: runtimes do it once, and the file stays small."""
        outputs, inputs = conv.weight.shape[:2]
        taps = nodes.weight(conv.weight).transpose(2, 3, 1, 0).reshape(9, inputs * outputs)
        transform = nodes.constant(_both(_KERNEL) / _KERNEL_DIVISOR**2, np.float32)
        weight = (transform @ taps).reshape(SEEN, inputs, outputs)
        return cls(weight, nodes.weight(conv.bias), chunk, inputs, outputs)

    def run(self, rows: Value, windows: Value) -> Value:
        """(16, m, outputs)."""
        nodes, m = rows.nodes, self.chunk
        seen = rows.take(windows, 0).reshape(SEEN, m * self.inputs)
        points = (nodes.constant(_both(_INPUT), np.float32) @ seen).reshape(SEEN, m, self.inputs)
        products = (points @ self.weight).reshape(SEEN, m * self.outputs)
        return (nodes.constant(_both(_OUTPUT), np.float32) @ products).reshape(PIXELS, m, self.outputs)
