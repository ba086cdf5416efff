"""ONNX graphs in the making; their tensors are `values.Value`.

Operators of a subgraph (of `branch`, `map`, `repeat`) may use all values outside it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from adadsr.export.values import BOOL, FLOAT, INT, Operand, Value

OPSET = 18
"""Version of the operators: the first in which all reductions take their axes as an input."""
IR_VERSION = 8
"""Version of the file format that came with it."""


class Nodes:
    """A graph in the making.

    Attributes:
        half: Whether `weight` stores float16.
    """

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self._scopes: list[list[onnx.NodeProto]] = [[]]
        self._stored: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._count = 0

    def op(self, kind: str, *inputs: Value, dtype: Any = None, **attributes: Any) -> Value:
        """The output of an operator; dtype: of the output, None for that of the first input."""
        (output,) = self.ops(kind, *inputs, dtypes=(inputs[0].dtype if dtype is None else dtype,), **attributes)
        return output

    def ops(self, kind: str, *inputs: Value, dtypes: Sequence[Any], **attributes: Any) -> list[Value]:
        """The outputs of an operator with several of them, of these types."""
        outputs = [Value(self, self._name(kind), np.dtype(dtype)) for dtype in dtypes]
        node = helper.make_node(
            kind, [value.name for value in inputs], [value.name for value in outputs], outputs[0].name, **attributes
        )
        self._scopes[-1].append(node)
        return outputs

    def constant(self, array: npt.ArrayLike, dtype: Any = None) -> Value:
        """A constant; equal ones are stored once."""
        stored = np.ascontiguousarray(array, dtype).reshape(np.shape(array))
        key = str(stored.dtype), stored.shape, stored.tobytes()
        if key not in self._stored:
            name = self._name("constant")
            self._initializers.append(numpy_helper.from_array(stored, name))
            self._stored[key] = Value(self, name, stored.dtype)
        return self._stored[key]

    def weight(self, array: npt.NDArray[np.float32]) -> Value:
        """A constant of the network in float32, stored as float16 if the graph is."""
        return self.constant(array, np.float16).cast(FLOAT) if self.half else self.constant(array, np.float32)

    def ints(self, *values: int | Value) -> Value:
        """A vector of integers, such as a shape."""
        if all(isinstance(value, int) for value in values):
            return self.constant(np.array(values, INT))
        parts = [self.constant([value], INT) if isinstance(value, int) else value.reshape(1) for value in values]
        return self.concatenate(parts, 0)

    def concatenate(self, parts: Sequence[Value], axis: int) -> Value:
        """Parts one after the other."""
        return self.op("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]

    def count(self, stop: Value | int, start: int = 0) -> Value:
        """Integers from `start` to `stop` - 1."""
        one, first = self.constant(1, INT), self.constant(start, INT)
        return self.op("Range", first, stop if isinstance(stop, Value) else self.constant(stop, INT), one)

    def full(self, value: Value, *shape: int | Value) -> Value:
        """A scalar repeated to a shape."""
        return self.op("Expand", value, self.ints(*shape))

    def where(self, condition: Value, yes: Operand, no: Operand) -> Value:
        """`yes` where the condition holds, otherwise `no`; one of them is a value."""
        like = yes if isinstance(yes, Value) else no
        assert isinstance(like, Value)
        return self.op("Where", condition, self.like(yes, like), self.like(no, like), dtype=like.dtype)

    def like(self, operand: Operand, value: Value) -> Value:
        """An operand as a value, a number in the type of another value."""
        return operand if isinstance(operand, Value) else self.constant(np.asarray(operand, value.dtype))

    def branch(
        self, condition: Value, yes: Callable[[], Sequence[Value]], no: Callable[[], Sequence[Value]]
    ) -> list[Value]:
        """The values of one of two subgraphs, which only then is computed."""
        (then, outputs), (other, _) = self._subgraph("yes", [], yes), self._subgraph("no", [], no)
        dtypes = [value.dtype for value in outputs]
        return self.ops("If", condition, dtypes=dtypes, then_branch=then, else_branch=other)

    def map(self, inputs: Sequence[Value], step: Callable[..., Sequence[Value]]) -> list[Value]:
        """Results of `step` for each slice of the inputs along their first axis, stacked.

        A Loop: for a Scan, OpenVINO cannot read steps that use values outside them.
        """
        number, going = Value(self, self._name("number"), INT), Value(self, self._name("going"), BOOL)

        def body() -> list[Value]:
            return [going, *step(*(value.take(number, 0) for value in inputs))]

        graph, outputs = self._subgraph("step", [number, going], body, shapes=[()])
        dtypes = [value.dtype for value in outputs[1:]]
        return self.ops("Loop", inputs[0].size(0), self.constant(True, BOOL), dtypes=dtypes, body=graph)

    def repeat(
        self,
        states: Sequence[Value],
        step: Callable[..., Sequence[Value]],
        *,
        times: int | None = None,
        condition: Callable[..., Value] | None = None,
    ) -> list[Value]:
        """The states, which are scalars, after `step` ran `times` times, or while the condition holds for them."""
        number, going = Value(self, self._name("number"), INT), Value(self, self._name("going"), BOOL)
        before = [Value(self, self._name("state"), value.dtype) for value in states]

        def body() -> list[Value]:
            after = list(step(*before))
            return [going if condition is None else condition(*after), *after]

        graph, _ = self._subgraph("loop", [number, going, *before], body, shapes=[()] * (len(states) + 1))
        most = np.iinfo(np.int64).max if times is None else times
        first = self.constant(True, BOOL) if condition is None else condition(*states)
        dtypes = [value.dtype for value in states]
        return self.ops("Loop", self.constant(most, INT), first, *states, dtypes=dtypes, body=graph)

    def input(self, name: str, dtype: Any) -> Value:
        """An input of the graph."""
        return Value(self, name, np.dtype(dtype))

    def finish(self, name: str, inputs: "Sequence[Port]", outputs: "Sequence[Port]") -> onnx.GraphProto:
        """The whole graph."""
        (nodes,) = self._scopes
        results = [helper.make_node("Identity", [port.value.name], [port.name], port.name) for port in outputs]
        return helper.make_graph(
            [*nodes, *results],
            name,
            [port.info() for port in inputs],
            [port.info() for port in outputs],
            self._initializers,
        )

    def _subgraph(
        self,
        name: str,
        inputs: Sequence[Value],
        body: Callable[[], Sequence[Value]],
        shapes: Sequence[tuple[int, ...]] = (),
    ) -> tuple[onnx.GraphProto, list[Value]]:
        """A graph and its outputs. shapes: of the first outputs; all inputs are scalars."""
        with self._scope() as nodes:
            # An output must be made inside the subgraph.
            outputs = [self.op("Identity", value) for value in body()]
        before = [_info(value.name, value.dtype, ()) for value in inputs]
        known = [*shapes, *[None] * (len(outputs) - len(shapes))]
        after = [_info(value.name, value.dtype, shape) for value, shape in zip(outputs, known, strict=True)]
        return helper.make_graph(nodes, self._name(name), before, after), outputs

    @contextmanager
    def _scope(self) -> Iterator[list[onnx.NodeProto]]:
        self._scopes.append([])
        try:
            yield self._scopes[-1]
        finally:
            self._scopes.pop()

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"


class Port(NamedTuple):
    """An input or output of the whole graph. shape: sizes, or names of those that vary."""

    name: str
    value: Value
    shape: tuple[int | str, ...]

    def info(self) -> onnx.ValueInfoProto:
        """Its declaration."""
        return _info(self.name, self.value.dtype, self.shape)


def _info(name: str, dtype: np.dtype[Any], shape: tuple[int | str, ...] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
