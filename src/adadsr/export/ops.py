"""The array operations of `graph` definitions as ONNX operators."""

from collections.abc import Sequence

import numpy as np

from adadsr.export.nodes import Nodes
from adadsr.export.values import Value
from adadsr.graph import Array


class NodeOps:
    """`graph.Ops` for values of a graph; weights are numpy arrays."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes

    def conv(self, x: Value, weight: Array, bias: Array, stride: int = 1) -> Value:
        side = weight.shape[-1]
        pads = [side // 2 if stride == 1 else 0] * 4
        given = x, self.nodes.weight(weight), self.nodes.weight(bias)
        return self.nodes.op("Conv", *given, kernel_shape=[side, side], strides=[stride, stride], pads=pads)

    def relu(self, x: Value) -> Value:
        return self.nodes.op("Relu", x)

    def prelu(self, x: Value, slope: Array) -> Value:
        return self.nodes.op("PRelu", x, self.nodes.weight(slope.reshape(-1, 1, 1)))

    def leaky_relu(self, x: Value, slope: float) -> Value:
        return self.nodes.op("LeakyRelu", x, alpha=slope)

    def sigmoid(self, x: Value) -> Value:
        return self.nodes.op("Sigmoid", x)

    def linear(self, x: Value, weight: Array, bias: Array) -> Value:
        flat = np.ascontiguousarray(weight.reshape(weight.shape[:2]).T)
        return x @ self.nodes.weight(flat) + self.nodes.weight(bias)

    def spatial_mean(self, x: Value) -> Value:
        return x.mean(2, 3)

    def concatenate(self, parts: Sequence[Value]) -> Value:
        return self.nodes.concatenate(parts, 1)

    def pixel_shuffle(self, x: Value, upscale_factor: int) -> Value:
        return self.nodes.op("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")

    def upsample(self, x: Value, upscale_factor: int) -> Value:
        # As channels: Resize is rounded differently by different runtimes.
        return self.pixel_shuffle(self._repeated(x, upscale_factor**2), upscale_factor)

    def _repeated(self, x: Value, times: int) -> Value:
        """Each channel repeated."""
        copies = self.nodes.concatenate([x.unsqueeze(2)] * times, 2)
        return copies.reshape(1, -1, x.size(2), x.size(3))

    def pad_edge(self, x: Value, bottom: Array, right: Array) -> Value:
        return self.nodes.op("Pad", x, self.nodes.ints(0, 0, 0, 0, 0, 0, bottom, right), mode="edge")

    def expand_tiles(self, x: Value, tile: int, height: Array, width: Array) -> Value:
        for axis, size in ((2, height), (3, width)):
            x = x.take(self.nodes.count(size) // tile, axis)
        return x

    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.nodes.where(condition, yes, no)

    def per_channel(self, x: Value, values: Sequence[float]) -> Value:
        return self.nodes.constant(np.asarray(values, np.float32).reshape(1, -1, 1, 1))

    def per_image(self, x: Value, values: Value) -> Value:
        return values.reshape(-1, 1, 1, 1)

    def cast(self, x: Array, like: Array) -> Array:
        return x
