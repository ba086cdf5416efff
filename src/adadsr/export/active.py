"""Where the convs of a block run: the first entries of lists that are sorted by depth, deepest first.

Active sets are nested, so that one list serves all blocks. Lists are cut into chunks of m entries.
"""

from typing import NamedTuple, Protocol

import numpy as np

from adadsr.export.nodes import Nodes
from adadsr.export.values import INDEX, INT, Value
from adadsr.graph import ConvWeights


class Active(NamedTuple):
    """The start of a list, for one conv of a block.

    chunks: k, the number of chunks with all active entries and at least one other, INT. members: which of their entries
    are active, (k, m) of BOOL. windows: the rows that each entry reads, (k, seen, m) of INDEX.
    """

    chunks: Value
    members: Value
    windows: Value

    @classmethod
    def of(cls, depths: Value, windows: Value, chunk: int, block: int) -> "Active":
        """The entries deeper than `block`. depths: (K, m). windows: (K, seen, m)."""
        is_active = depths > block
        chunks = is_active.cast(INDEX).sum().cast(INT) // chunk + 1
        return cls(chunks, is_active.first(chunks), windows.first(chunks))


class Positions(NamedTuple):
    """Where a block runs.

    hidden, changed: for its first and its second conv. numbers: of the table's entries that change, as indices for
    ScatterND without their last axis, INT. last: the last row of the hidden features, which is zero, INDEX.
    """

    hidden: Active
    changed: Active
    numbers: Value
    last: Value


class RowConv(Protocol):
    """A conv prepared in a graph, for chunks of m entries."""

    @property
    def inputs(self) -> int:
        """Channels that it reads."""

    @property
    def outputs(self) -> int:
        """Channels that it makes."""

    @property
    def bias(self) -> Value:
        """(outputs,)."""

    def run(self, rows: Value, windows: Value) -> Value:
        """The conv without its bias, (..., m, outputs). rows: (rows, inputs). windows: (seen, m), see `Active`."""


class Order(Protocol):
    """The positions of a frame in the order of a depth map."""

    @property
    def pixels(self) -> Value:
        """Pixels of the frame, INT."""

    def table(self, features: Value) -> Value:
        """Features (1, C, h, w) in this order, (..., C)."""

    def features(self, table: Value, height: Value, width: Value) -> Value:
        """A table as features (1, C, h, w)."""

    def conv(self, conv: ConvWeights) -> RowConv:
        """A 3x3 conv for this order."""

    def positions(self, block: int) -> Positions:
        """Where block `block` runs, counted from 0."""

    def inside(self, chunks: Value) -> Value:
        """1 for what the first chunks of `Positions.changed` have of the frame, otherwise 0: (k, ..., m) of FLOAT."""


def deepest_first(depths: Value, chunk: int, none: Value) -> tuple[Value, Value, Value]:
    """The entries of a depth map, (h, w) of INDEX, in chunks: depths (K, m) of INDEX, numbers (K, m) of INT, order.

    Missing entries of the last chunk, of which there is at least one, have depth 0 and number `none`. order: the
    numbers without them.
    """
    nodes, count = depths.nodes, depths.size(0) * depths.size(1)
    missing = (count // chunk + 1) * chunk - count
    kinds = [INDEX, INT]
    ordered, order = nodes.ops("TopK", depths.reshape(-1), nodes.ints(count), dtypes=kinds, axis=0, largest=1, sorted=1)
    zero = nodes.full(nodes.constant(0, INDEX), missing)
    padded = nodes.concatenate([ordered, zero], 0).reshape(-1, chunk)
    numbers = nodes.concatenate([order, nodes.full(none, missing)], 0).reshape(-1, chunk)
    return padded, numbers, order


def ranks_of(order: Value) -> Value:
    """Where each number stands in an order of all numbers, (N,) of INT."""
    return order.nodes.op("ScatterElements", order, order, order.nodes.count(order.size(0)), axis=0)


def table_rows(features: Value, sources: Value) -> Value:
    """Rows of features (1, C, h, w) at pixels; number h * w is a row of zeros: (..., C)."""
    channels = features.size(1)
    pixels = features.transpose(0, 2, 3, 1).reshape(-1, channels)
    zero = features.nodes.full(features.nodes.constant(0, features.dtype), 1, channels)
    return features.nodes.concatenate([pixels, zero], 0).take(sources, 0)


def steps(nodes: Nodes, side: int, *, across: bool = False) -> Value:
    """Row, or column, of each pixel of a square in raster order, (side^2, 1)."""
    numbers = np.arange(side**2)
    return nodes.constant((numbers % side if across else numbers // side).reshape(-1, 1), INT)
