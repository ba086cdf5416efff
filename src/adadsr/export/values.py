"""Tensors of an ONNX graph as Python values: their operators add nodes to the graph."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx.helper import np_dtype_to_tensor_dtype

if TYPE_CHECKING:
    from adadsr.export.nodes import Nodes

FLOAT, DOUBLE, INT, INDEX, BOOL, BYTE = (
    np.dtype(name) for name in ("float32", "float64", "int64", "int32", "bool", "uint8")
)
"""INT is the type of shapes, INDEX that of large lists of indices."""

Operand: TypeAlias = "Value | float | npt.NDArray[Any] | np.generic"


class Value:
    """A tensor of a graph. Numbers in an operation with it take its type."""

    def __init__(self, nodes: "Nodes", name: str, dtype: np.dtype[Any]) -> None:
        self.nodes, self.name, self.dtype = nodes, name, dtype

    def __add__(self, other: Operand) -> "Value":
        return self._with("Add", other)

    def __radd__(self, other: Operand) -> "Value":
        return self._with("Add", other)

    def __sub__(self, other: Operand) -> "Value":
        return self._with("Sub", other)

    def __rsub__(self, other: Operand) -> "Value":
        return self.nodes.like(other, self) - self

    def __mul__(self, other: Operand) -> "Value":
        return self._with("Mul", other)

    def __rmul__(self, other: Operand) -> "Value":
        return self._with("Mul", other)

    def __truediv__(self, other: Operand) -> "Value":
        return self._with("Div", other)

    def __floordiv__(self, other: Operand) -> "Value":
        """Of integers that are at least 0."""
        return self._with("Div", other)

    def __mod__(self, other: Operand) -> "Value":
        return self._with("Mod", other)

    def __neg__(self) -> "Value":
        return self.nodes.op("Neg", self)

    def __lt__(self, other: Operand) -> "Value":
        return self._with("Less", other, BOOL)

    def __le__(self, other: Operand) -> "Value":
        return self._with("LessOrEqual", other, BOOL)

    def __gt__(self, other: Operand) -> "Value":
        return self._with("Greater", other, BOOL)

    def __ge__(self, other: Operand) -> "Value":
        return self._with("GreaterOrEqual", other, BOOL)

    def __and__(self, other: "Value") -> "Value":
        return self.nodes.op("And", self, other)

    def is_not(self) -> "Value":
        """The opposite of a BOOL."""
        return self.nodes.op("Not", self)

    def __matmul__(self, other: "Value") -> "Value":
        return self.nodes.op("MatMul", self, other)

    def __getitem__(self, axes: Any) -> "Value":
        """An element of a vector, or new axes at the end: `value[..., None, None]`."""
        if isinstance(axes, int):
            return self.take(self.nodes.constant(axes, INT), 0)
        assert axes[0] is Ellipsis
        assert set(axes[1:]) == {None}
        return self.unsqueeze(*range(-len(axes) + 1, 0))

    def _with(self, kind: str, other: Operand, dtype: Any = None) -> "Value":
        return self.nodes.op(kind, self, self.nodes.like(other, self), dtype=dtype)

    def cast(self, dtype: Any) -> "Value":
        """The same in another type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        return self.nodes.op("Cast", self, dtype=dtype, to=np_dtype_to_tensor_dtype(dtype))

    @property
    def shape(self) -> "Value":
        """Sizes of the axes, a vector of INT."""
        return self.nodes.op("Shape", self, dtype=INT)

    def size(self, axis: int) -> "Value":
        """Size of an axis, a scalar of INT."""
        return self.shape[axis]

    def reshape(self, *shape: "int | Value") -> "Value":
        """The same elements in another shape, of which one size may be -1; no size makes a scalar."""
        return self.nodes.op("Reshape", self, self.nodes.ints(*shape))

    def unsqueeze(self, *axes: int) -> "Value":
        """With axes of size 1 at these positions of the result."""
        return self.nodes.op("Unsqueeze", self, self.nodes.ints(*axes))

    def transpose(self, *order: int) -> "Value":
        """With the axes in another order."""
        return self.nodes.op("Transpose", self, perm=order)

    def take(self, indices: "Value", axis: int) -> "Value":
        """Elements along an axis."""
        return self.nodes.op("Gather", self, indices, axis=axis)

    def slice(self, starts: "Sequence[int | Value]", ends: "Sequence[int | Value]", axes: Sequence[int]) -> "Value":
        """Parts along axes."""
        ints = self.nodes.ints
        return self.nodes.op("Slice", self, ints(*starts), ints(*ends), ints(*axes))

    def first(self, count: "Value") -> "Value":
        """The first elements along the first axis."""
        return self.slice([0], [count], [0])

    def pad(self, before: "Sequence[int | Value]", after: "Sequence[int | Value]", value: Operand = 0) -> "Value":
        """With a constant around it, as wide as given for each axis."""
        return self.nodes.op("Pad", self, self.nodes.ints(*before, *after), self.nodes.like(value, self))

    def clip(self, low: float, high: float) -> "Value":
        """Limited to [low, high]."""
        like = self.nodes.like
        return self.nodes.op("Clip", self, like(low, self), like(high, self))

    def minimum(self, other: Operand) -> "Value":
        """The smaller of two."""
        return self._with("Min", other)

    def maximum(self, other: Operand) -> "Value":
        """The larger of two."""
        return self._with("Max", other)

    def dilated(self) -> "Value":
        """The largest of each position's 3x3 neighbours; (N, C, h, w) of FLOAT."""
        return self.nodes.op("MaxPool", self, kernel_shape=[3, 3], pads=[1] * 4)

    def sum(self, *axes: int) -> "Value":
        """Sum over axes, which are dropped; over all without any."""
        return self._reduce("ReduceSum", axes)

    def mean(self, *axes: int) -> "Value":
        """The same for the mean."""
        return self._reduce("ReduceMean", axes)

    def max(self, *axes: int) -> "Value":
        """The same for the maximum."""
        return self._reduce("ReduceMax", axes)

    def min(self, *axes: int) -> "Value":
        """The same for the minimum."""
        return self._reduce("ReduceMin", axes)

    def _reduce(self, kind: str, axes: Sequence[int]) -> "Value":
        given = (self.nodes.ints(*axes),) if axes else ()
        return self.nodes.op(kind, self, *given, keepdims=0)
