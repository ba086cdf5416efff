"""The body at the tiles that a depth map needs, block by block."""

from collections.abc import Sequence

from adadsr.errors import ExportError
from adadsr.export.ops import NodeOps
from adadsr.export.tiles import Active, TileOrder, order_tiles
from adadsr.export.values import FLOAT, Value
from adadsr.export.winograd import TileConv
from adadsr.graph import Attention, BodyWeights, GroupWeights, ResidualBlock

CHUNK = 128
"""Tiles that run at once: few enough that their products stay in a processor's cache, and enough that reading the
weights for each chunk, and starting its operators, does not show."""
OFF = -1e30
"""Bias that makes ReLU zero."""


def run_body(body: BodyWeights, z0: Value, depths: Value, height: Value, width: Value) -> Value:
    """Features after the body, (1, C, h, w).

    z0: the same before it. depths: (1, G, ceil(h/4), ceil(w/4)) of INDEX, in whole blocks. height, width: h, w.
    """
    ops, z = NodeOps(z0.nodes), z0
    for index, group in enumerate(body.groups):
        own = depths.slice([index], [index + 1], [1]).reshape(depths.size(2), depths.size(3))
        order = order_tiles(own, height, width, CHUNK)
        table = order.table(z)
        for number, block in enumerate(residual_blocks(group)):
            table = TileBlock(block, order, number).run(table)
        start, z = z, order.features(table, height, width)
        if group.conv is not None:
            z = group.conv.run(ops, z) + start
    return z if body.conv is None else body.conv.run(ops, z) + z0


def residual_blocks(group: GroupWeights) -> Sequence[ResidualBlock]:
    """The blocks of a group. Raises ExportError if any is not a residual block of two 3x3 convs."""
    blocks = []
    for block in group.blocks:
        if not isinstance(block, ResidualBlock) or any(conv.reach != 1 for conv in (block.conv1, block.conv2)):
            raise ExportError(f"blocks of kind {type(block).__name__} cannot be exported with a depth map")
        blocks.append(block)
    return blocks


class TileBlock:
    """A residual block at the tiles of an order that are deeper than its number."""

    def __init__(self, block: ResidualBlock, order: TileOrder, number: int) -> None:
        nodes = order.depths.nodes
        self._order, self._attention = order, block.attention
        self._conv1, self._conv2 = (TileConv.of(nodes, conv, order.chunk) for conv in (block.conv1, block.conv2))
        self._active = Active.of(order, number)
        self._windows = order.windows.first(self._active.chunks)

    def run(self, table: Value) -> Value:
        """The table of all features, (K, 16, m, C), after the block."""
        changed = self._changed(table, self._hidden(table))
        return table.nodes.op("ScatterND", table, self._active.numbers.unsqueeze(1), changed)

    def _hidden(self, table: Value) -> Value:
        """Rows of the hidden features, which are zero outside the active tiles: (rows, C)."""
        nodes, conv = table.nodes, self._conv1
        rows = table.reshape(-1, conv.inputs)

        def step(windows: Value, is_active: Value) -> list[Value]:
            bias = nodes.where(is_active.unsqueeze(1), conv.bias, OFF)
            return [nodes.op("Relu", conv.run(rows, windows) + bias)]

        (hidden,) = nodes.map([self._windows, self._active.tiles], step)
        return hidden.reshape(-1, conv.outputs)

    def _changed(self, table: Value, hidden: Value) -> Value:
        """The chunks with active tiles after the block, (k, 16, m, C)."""
        nodes, active = table.nodes, self._active
        if self._attention is not None:
            return self._attended(table, hidden, self._attention)

        def step(windows: Value, is_active: Value, number: Value) -> list[Value]:
            return [table.take(number, 0) + self._update(hidden, windows, is_active)]

        (changed,) = nodes.map([self._windows, active.tiles, active.numbers], step)
        return changed

    def _attended(self, table: Value, hidden: Value, attention: Attention) -> Value:
        nodes, active = table.nodes, self._active
        inside = self._order.inside.first(active.chunks)

        def step(windows: Value, is_active: Value, inside: Value) -> list[Value]:
            update = self._update(hidden, windows, is_active)
            return [update, inside.reshape(1, -1) @ update.reshape(-1, self._conv2.outputs)]

        update, sums = nodes.map([self._windows, active.tiles, inside], step)
        mean = sums.sum(0) / self._order.pixels.cast(FLOAT)
        z, scale = table.first(active.chunks), attention.scale(NodeOps(nodes), mean)
        changed: Value = z + update * scale
        return changed

    def _update(self, hidden: Value, windows: Value, is_active: Value) -> Value:
        """The change of a chunk, (16, m, C): zero at tiles that are not active."""
        nodes, last = hidden.nodes, self._active.last
        seen = nodes.where(is_active, windows.minimum(last), last)
        return self._conv2.run(hidden, seen) + nodes.where(is_active.unsqueeze(1), self._conv2.bias, 0)
