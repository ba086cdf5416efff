"""A network's forward pass as training runs it: in float32, or with the body's convs in bfloat16."""

import torch
from torch import Tensor, nn

from adadsr.models import Network, Restoration
from adadsr.training.recipe import Recipe


class Forward(nn.Module):
    """`Network.forward`, with the convs of body and adapter in bfloat16 where `bfloat16` asks for it.

    Pixel values, and the features that carry them through head, sums and tail, need more than 8 bits: with all of the
    network in bfloat16 the rounding of the output decided the sign of most differences that L1 looks at, and the
    gradient with it (`tests/test_training_precision.py`).
    """

    def __init__(self, network: Network, *, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.bfloat16_body = network, bfloat16

    def forward(self, lr: Tensor, desired_depth: Tensor | None = None, hardness: float = 0.0) -> Restoration:
        """See `Network.forward`."""
        network = self.network
        z0 = network.head(lr)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16_body):
            depth_map = None
            if desired_depth is not None:
                scores = self._scores(z0, desired_depth)
                depth_map = network.require_adapter().at_depth(scores, desired_depth, hardness)
            z = network.body(z0, depth_map, hardness)
        return Restoration(network.tail(z.float()), depth_map)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _scores(self, z0: Tensor, desired_depth: Tensor) -> Tensor:
        """In float32, as depths have to be. Not compiled: torch 2.13 mistakes the layout of the padding's gradient."""
        return self.network.require_adapter().scores(z0, desired_depth).float()


def make_forward(network: Network, recipe: Recipe) -> Forward:
    """The forward pass as a recipe asks for it: precision, compilation, CUDA graphs."""
    forward = Forward(network, bfloat16=recipe.precision == "bfloat16")
    if recipe.compile:
        forward.compile(mode="reduce-overhead" if recipe.cuda_graphs else "default")
    return forward
