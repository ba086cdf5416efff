"""Adam, alone or with Muon for the body's convs, the learning rate of each step, and the state as named tensors."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from adadsr.errors import CheckpointError
from adadsr.graph import map_arrays
from adadsr.networks import Network
from adadsr.training.recipe import Stage

BETAS = (0.9, 0.99)
"""Of Adam. The second averages squared gradients over 100 steps instead of the usual 1000, since runs take a few
thousand. All results in dev/LOG.md were reached with it; 0.999 was not compared."""
FUSED = ("cpu", "cuda")
"""Device types where Adam steps in one kernel. On CPUs it ignores strides: gradients and state must lie in memory as
their parameter does."""
HALVED_AFTER = (0.5, 0.75, 0.875)
"""Fractions of a stage after which the schedule `step` halves the rate."""
LEAST_RATE = 0.01
"""Fraction of the peak that the schedule `cosine` ends at."""
FACTOR = "rate_factor"
"""Key of a parameter group: its factor of the learning rate."""


def learning_rate(stage: Stage, step: int, warmup: int) -> float:
    """The rate of a step of a stage: it rises over `warmup` steps, then falls by the stage's schedule."""
    done = step / stage.steps
    if stage.schedule == "step":
        falling = 0.5 ** sum(done >= at for at in HALVED_AFTER)
    else:
        falling = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
    return stage.learning_rate * falling * min(1.0, (step + 1) / warmup)


class Optimizers:
    """All parameters of a network, each in one optimizer."""

    def __init__(
        self, network: Network, device: torch.device, *, muon: bool, factors: Mapping[str, float] | None = None
    ) -> None:
        """muon: orthogonalise the momentum of the groups' 3x3 convs (Muon, "Muon is Scalable for LLM Training",
        arXiv:2502.16982), each as a matrix of out x 9*in, scaled so that Adam's learning rates fit.

        factors: of the learning rate, by the names of parameters; 1 for others.
        """
        weights = _block_convs(network) if muon else []
        elsewhere = {id(parameter) for parameter in weights}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in elsewhere]
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        of = {number: (factors or {}).get(name, 1.0) for number, name in names.items()}
        adam = _groups((parameter, of[id(parameter)]) for parameter in rest)
        self.each: list[Optimizer] = [Adam(adam, betas=BETAS, fused=device.type in FUSED)]
        # Channels come last in memory, so that these matrices are views: a step on them is a step of the conv.
        self._matrices = [(weight, nn.Parameter(_as_matrix(weight.detach()))) for weight in weights]
        if self._matrices:
            from torch.optim import Muon  # which older versions of torch do not have

            matrices = _groups((matrix, of[id(weight)]) for weight, matrix in self._matrices)
            self.each.append(Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        names |= {id(matrix): names[id(weight)] for weight, matrix in self._matrices}
        self._names = [[names[id(parameter)] for parameter in _parameters_of(optimizer)] for optimizer in self.each]

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
                group["lr"] = rate * group[FACTOR]
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """The state as `parameter.key` -> tensor, whatever the groups of parameters are."""
        return {
            f"{names[index]}.{key}": value
            for names, optimizer in zip(self._names, self.each, strict=True)
            for index, entry in optimizer.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`, in the parameters' memory formats.

        Raises CheckpointError for tensors of other parameters or shapes.
        """
        entries: dict[str, dict[str, Tensor]] = {}
        for full, value in tensors.items():
            name, _, key = full.rpartition(".")
            entries.setdefault(name, {})[key] = value
        for names, optimizer in zip(self._names, self.each, strict=True):
            parameters = zip(names, _parameters_of(optimizer), strict=True)
            state = {
                index: {key: _laid_out(value, parameter, name) for key, value in entries.pop(name).items()}
                for index, (name, parameter) in enumerate(parameters)
                if name in entries
            }
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if entries:
            raise CheckpointError(f"the state has {min(entries)}, which belongs to no parameter of this network")


def _laid_out(value: Tensor, parameter: Tensor, name: str) -> Tensor:
    """One tensor of a parameter's state, in the parameter's memory format; scalars are returned as they are."""
    if value.ndim == 0:
        return value
    if value.shape != parameter.shape:
        raise CheckpointError(f"the state of {name} is {tuple(value.shape)}, not {tuple(parameter.shape)}")
    return torch.empty_like(parameter).copy_(value)


def _parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """In the order in which an optimizer numbers them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _groups(parameters: Iterable[tuple[Tensor, float]]) -> list[dict[str, Any]]:
    """Groups for an optimizer, each of the parameters that have one factor of the learning rate."""
    alike: dict[float, list[Tensor]] = {}
    for parameter, factor in parameters:
        alike.setdefault(factor, []).append(parameter)
    return [{"params": group, FACTOR: factor} for factor, group in alike.items()]


def _block_convs(network: Network) -> list[Tensor]:
    """Weights of the convs of the blocks and groups, in order, except the 1x1 convs of attention."""
    found: list[Tensor] = []
    map_arrays(network.weights().body.groups, found.append)
    return [weight for weight in found if weight.ndim == 4 and weight.shape[-1] > 1]


def _as_matrix(weight: Tensor) -> Tensor:
    """A conv's weight (out, in, k, k) as (out, k*k*in)."""
    return weight.permute(0, 2, 3, 1).flatten(1)
