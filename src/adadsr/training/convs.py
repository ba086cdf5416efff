"""What runs the convs of the body in training: torch, or the native engine's Winograd kernels on the CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adadsr.backends import native
from adadsr.errors import BackendError
from adadsr.graph import BodyWeights, ResidualBlock
from adadsr.training.recipe import Recipe

CONVS = ("auto", "native", "torch")
"""Values of the option; auto is native where it can run."""


class NativeBody:
    """`BodyWeights.run` with the native engine's kernels, differentiable; in float32, on the CPU.

    Passes share memory, so they run one after the other.
    """

    def __init__(self) -> None:
        """As many threads as torch uses."""
        from adadsr.backends.native.gradients import Convs
        from adadsr.backends.native.workspaces import chosen_isa

        self.convs = Convs(chosen_isa(None), torch.get_num_threads())

    @property
    def label(self) -> str:
        """Name in logs."""
        return f"native ({self.convs.isa})"

    def run(self, body: BodyWeights, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """As `BodyWeights.run`, for bodies that `why_not` does not refuse."""
        assert body.conv is not None
        convs = [
            conv for block in body.blocks if isinstance(block, ResidualBlock) for conv in (block.conv1, block.conv2)
        ]
        parameters = [parameter for conv in (*convs, body.conv) for parameter in conv]
        features: Tensor = _Body.apply(self.convs, body.depth_tile, z0, depth_map, *parameters)  # type: ignore[no-untyped-call]
        return features


def choose_convs(name: str, body: BodyWeights, recipe: Recipe, device: torch.device) -> NativeBody | None:
    """What runs the body; None is torch. name: one of CONVS. Raises BackendError for native where it cannot run."""
    reason = "it was not asked for" if name == "torch" else why_not(body, recipe, device)
    if reason is None:
        return NativeBody()
    if name == "native":
        raise BackendError(f"the native engine cannot train here: {reason}; choose --convs torch")
    return None


def why_not(body: BodyWeights, recipe: Recipe, device: torch.device) -> str | None:
    """Why the native engine cannot train a body; None if it can."""
    if device.type != "cpu":
        return f"it runs on CPUs only, not on {device}"
    if recipe.precision != "float32" or recipe.compile:
        return "it trains in float32 without torch.compile only"
    if len(body.groups) > 1 or body.groups[0].conv is not None or body.conv is None:
        return "it trains bodies of one group and a closing conv only"
    blocks = body.groups[0].blocks
    if not all(isinstance(block, ResidualBlock) and block.attention is None for block in blocks):
        return "it trains residual blocks of two 3x3 convs without attention only"
    return native.missing()


class _Body(torch.autograd.Function):
    """Residual blocks and the closing conv as one operation, so that hidden features never leave the engine."""

    @staticmethod
    def forward(
        ctx: Any, convs: Any, depth_tile: int, z0: Tensor, depth_map: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        from adadsr.backends.native.gradients import BodyPass, Conv

        weights = [
            Conv(_channels_last(weight), bias.detach().numpy())
            for weight, bias in zip(parameters[::2], parameters[1::2], strict=True)
        ]
        depths = None if depth_map is None else depth_map.detach()[:, 0].numpy()
        body_pass = BodyPass(convs, weights, z0.detach().permute(0, 2, 3, 1).numpy(), depths, depth_tile)
        if any(ctx.needs_input_grad):
            ctx.body_pass = body_pass
            ctx.save_for_backward(*parameters)  # so that torch notices if they change before the backward pass
        else:
            body_pass.discard()
        return torch.from_numpy(body_pass.features).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors
        by_z0, by_depth, by_weights = ctx.body_pass.backward(gradient.permute(0, 2, 3, 1).numpy())
        by_parameters = [
            found
            for weight, bias in by_weights
            for found in (torch.from_numpy(weight).permute(0, 3, 1, 2), torch.from_numpy(bias))
        ]
        by_map = None if by_depth is None else torch.from_numpy(by_depth)[:, None]
        return None, None, torch.from_numpy(by_z0).permute(0, 3, 1, 2), by_map, *by_parameters


def _channels_last(weight: Tensor) -> Any:
    """A weight (out, in, 3, 3) as an array (out, 3, 3, in); a view if its channels lie innermost in memory."""
    return weight.detach().permute(0, 2, 3, 1).contiguous().numpy()
