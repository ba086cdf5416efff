"""A whole network on tensors, from LR to SR, in which nothing waits for the device: what a CUDA graph can record."""

from collections.abc import Callable

from torch import Tensor

from adadsr.models.layers import rgb_mean
from adadsr.models.network import Network
from adadsr.sparse.reference import run_tail

RunFeatures = Callable[[Tensor, Tensor | None], Tensor]
"""From z0 (N, C, H, W) and a depth map, None for full depth, to the features after the body."""


class Forward:
    """`Network.forward` in the type of its weights, with a body of one's choice. `sparse.graph.Captured` records it."""

    def __init__(self, network: Network, body: RunFeatures) -> None:
        """network: on its device. body: runs its body, such as `TritonBody.run` with a plan."""
        self.network, self.body = network, body
        self.tail = network.tail.tensors()
        # A constant that is made from numbers of the host cannot be recorded: it is made here.
        self.mean = rgb_mean(network.head.conv.weight)

    def __call__(self, lr: Tensor, desired_depth: Tensor | None = None) -> Tensor:
        """lr: (N, 3, H, W) in 0..255. desired_depth: (N,), in blocks, on the device; None for full depth."""
        z0 = self.features(lr)
        depth_map = None if desired_depth is None else self.network.require_adapter()(z0, desired_depth)
        return self.restore(z0, depth_map)

    def features(self, lr: Tensor) -> Tensor:
        """The head: (N, 3, H, W) in 0..255 -> z0, (N, C, H, W)."""
        z0: Tensor = self.network.head.conv(lr - self.mean)
        return z0

    def restore(self, z0: Tensor, depth_map: Tensor | None) -> Tensor:
        """Body and tail: (N, C, H, W) and a depth map -> (N, 3, s*H, s*W)."""
        return run_tail(self.tail, self.body(z0, depth_map)) + self.mean
