"""Adam, alone or beside Muon for the body's convs, with a state of named tensors."""

import torch
from torch import Tensor, nn
from torch.optim import Adam, Muon, Optimizer

from adadsr.models import Network
from adadsr.models.layers import ResidualBlock


class Optimizers:
    """All parameters of a network, each in one optimizer.

    muon: orthogonalise the momentum of the residual blocks' 3x3 convs (Muon, "Muon is Scalable for LLM Training",
    arXiv:2502.16982), each taken as a matrix of out x 9*in; scaled so that Adam's learning rates fit.
    """

    def __init__(self, network: Network, device: torch.device, *, muon: bool) -> None:
        blocks = [module for module in network.body.modules() if isinstance(module, ResidualBlock)]
        weights = [conv.weight for block in blocks for conv in (block.conv1, block.conv2)] if muon else []
        elsewhere = {id(parameter) for parameter in weights}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in elsewhere]
        self.each: list[Optimizer] = [Adam(rest, betas=(0.9, 0.99), fused=device.type == "cuda")]
        # Channels come last in memory, so that these matrices are views: a step on them is a step of the conv.
        self._matrices = [(weight, nn.Parameter(_as_matrix(weight.detach()))) for weight in weights]
        if self._matrices:
            matrices = [matrix for _, matrix in self._matrices]
            self.each.append(Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.each:
            optimizer.zero_grad()
        for weight, _ in self._matrices:
            weight.grad = None

    def step(self, rate: float) -> None:
        """One step at a learning rate."""
        for weight, matrix in self._matrices:
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad)
        for optimizer in self.each:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """The state as `optimizer.parameter.key` -> tensor."""
        return {
            f"{number}.{index}.{key}": value
            for number, optimizer in enumerate(self.each)
            for index, entry in optimizer.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`, in the parameters' memory formats."""
        for number, optimizer in enumerate(self.each):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                owner, index, key = name.split(".")
                if int(owner) == number:
                    parameter = parameters[int(index)]
                    alike = tensor.shape == parameter.shape
                    value = torch.empty_like(parameter).copy_(tensor) if alike else tensor
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _as_matrix(weight: Tensor) -> Tensor:
    """A conv's weight (out, in, k, k) as (out, k*k*in)."""
    return weight.permute(0, 2, 3, 1).flatten(1)
