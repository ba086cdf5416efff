"""A whole network on tensors, from LR to SR, without waiting for the device, and its recording as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from adadsr.backends.gpu.autotune import record
from adadsr.graph import NetworkWeights
from adadsr.networks.depth_maps import depths_at
from adadsr.tensor_ops import OPS

RunBody = Callable[[Tensor, Tensor | None], Tensor]
"""From z0 (N, C, H, W) and a depth map, None for full depth, to the features after the body."""


class Forward:
    """A network in the type of its weights, with a body of one's choice. `Captured` records it."""

    def __init__(self, network: NetworkWeights, run_body: RunBody) -> None:
        """network: tensors on their device. run_body: runs its body, such as `TritonBody.run` with a plan."""
        self.network, self.run_body = network, run_body

    def __call__(self, lr: Tensor, desired_depth: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) in 0..255 -> (N, 3, s*H, s*W). desired_depth: (N,), in blocks, on the device; None: full."""
        z0, depth_map = self.network.head.run(OPS, lr), None
        if desired_depth is not None:
            scores = self.network.require_adapter().run(OPS, z0, desired_depth)
            depth_map = depths_at(self.network, scores, desired_depth)
        return self.restore(lr, z0, depth_map)

    def restore(self, lr: Tensor, z0: Tensor, depth_map: Tensor | None) -> Tensor:
        """Body and tail for features of the head and a depth map."""
        sr: Tensor = self.network.restore(OPS, lr, self.run_body(z0, depth_map))
        return sr


class Captured:
    """A function of tensors of fixed shapes as a CUDA graph. Not for several threads at once.

    The result of a call is overwritten by the next one.
    """

    _output: Tensor

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor) -> None:
        """function: from CUDA tensors to one, without waiting for the device. examples: tensors like its arguments."""
        self._inputs = tuple(example.clone() for example in examples)
        with torch.inference_mode():
            self._graph = record(lambda: setattr(self, "_output", function(*self._inputs)))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of tensors of the examples' shapes and types."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._output
