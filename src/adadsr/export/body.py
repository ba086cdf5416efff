"""The body at the positions that a depth map needs, block by block."""

from collections.abc import Sequence

from adadsr.errors import ExportError
from adadsr.export.active import Order
from adadsr.export.ops import NodeOps
from adadsr.export.pixels import order_pixels
from adadsr.export.tiles import order_tiles
from adadsr.export.values import FLOAT, Value
from adadsr.graph import Attention, BodyWeights, GroupWeights, ResidualBlock

OFF = -1e30
"""Bias that makes ReLU zero."""


def run_body(body: BodyWeights, z0: Value, depths: Value, height: Value, width: Value) -> Value:
    """Features after the body, (1, C, h, w).

    z0: the same before it. depths: (1, G, ceil(h/t), ceil(w/t)) of INDEX, in whole blocks. height, width: h, w.
    """
    ops, z = NodeOps(z0.nodes), z0
    order_of = order_tiles if body.depth_tile > 1 else order_pixels
    for index, group in enumerate(body.groups):
        own = depths.slice([index], [index + 1], [1]).reshape(depths.size(2), depths.size(3))
        order = order_of(own, height, width)
        table = order.table(z)
        for number, block in enumerate(residual_blocks(group)):
            table = SparseBlock(block, order, number).run(table)
        start, z = z, order.features(table, height, width)
        if group.conv is not None:
            z = group.conv.run(ops, z) + start
    return z if body.conv is None else body.conv.run(ops, z) + z0


def residual_blocks(group: GroupWeights) -> Sequence[ResidualBlock]:
    """The blocks of a group. Raises ExportError if any is not a residual block of two 3x3 convs."""
    blocks = []
    for block in group.blocks:
        if not isinstance(block, ResidualBlock) or any(conv.reach != 1 for conv in (block.conv1, block.conv2)):
            kind = type(block).__name__
            raise ExportError(
                f"{kind} cannot be exported with a depth map: files run blocks of two convs at chosen tiles, not "
                "chains of growing ones, nor a closing conv for each depth; export it with --dense, at full depth"
            )
        blocks.append(block)
    return blocks


class SparseBlock:
    """A residual block at the positions of an order that are deeper than its number."""

    def __init__(self, block: ResidualBlock, order: Order, number: int) -> None:
        self._order, self._attention = order, block.attention
        self._conv1, self._conv2 = order.conv(block.conv1), order.conv(block.conv2)
        self._at = order.positions(number)

    def run(self, table: Value) -> Value:
        """The table of all features after the block."""
        changed = self._changed(table, self._hidden(table))
        return table.nodes.op("ScatterND", table, self._at.numbers.unsqueeze(-1), changed)

    def _hidden(self, table: Value) -> Value:
        """Rows of the hidden features, which are zero outside the active positions: (rows, C)."""
        nodes, conv = table.nodes, self._conv1
        rows = table.reshape(-1, conv.inputs)

        def step(windows: Value, is_active: Value) -> list[Value]:
            bias = nodes.where(is_active.unsqueeze(1), conv.bias, OFF)
            return [nodes.op("Relu", conv.run(rows, windows) + bias)]

        (hidden,) = nodes.map([self._at.hidden.windows, self._at.hidden.members], step)
        return hidden.reshape(-1, conv.outputs)

    def _changed(self, table: Value, hidden: Value) -> Value:
        """The chunks with active positions after the block, (k, ..., m, C)."""
        nodes, active = table.nodes, self._at.changed
        if self._attention is not None:
            return self._attended(table, hidden, self._attention)

        def step(windows: Value, is_active: Value, numbers: Value) -> list[Value]:
            return [table.take(numbers, 0) + self._update(hidden, windows, is_active)]

        (changed,) = nodes.map([active.windows, active.members, self._at.numbers], step)
        return changed

    def _attended(self, table: Value, hidden: Value, attention: Attention) -> Value:
        nodes, active = table.nodes, self._at.changed
        inside = self._order.inside(active.chunks)

        def step(windows: Value, is_active: Value, inside: Value) -> list[Value]:
            update = self._update(hidden, windows, is_active)
            return [update, inside.reshape(1, -1) @ update.reshape(-1, self._conv2.outputs)]

        update, sums = nodes.map([active.windows, active.members, inside], step)
        mean = sums.sum(0) / self._order.pixels.cast(FLOAT)
        z, scale = table.take(self._at.numbers, 0), attention.scale(NodeOps(nodes), mean)
        changed: Value = z + update * scale
        return changed

    def _update(self, hidden: Value, windows: Value, is_active: Value) -> Value:
        """The change of a chunk, (..., m, C): zero where it is not active."""
        nodes, last = hidden.nodes, self._at.last
        seen = nodes.where(is_active, windows.minimum(last), last)
        return self._conv2.run(hidden, seen) + nodes.where(is_active.unsqueeze(1), self._conv2.bias, 0)
