"""The optimizer: its parameter groups, and its state as named tensors."""

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from adadsr.models import Network


def make_optimizer(network: Network, device: torch.device) -> Optimizer:
    """Adam; the adapter's parameters form a group of their own, for a rate of their own."""
    adapter = [] if network.adapter is None else list(network.adapter.parameters())
    kept = {id(parameter) for parameter in adapter}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in kept]
    groups = [{"params": rest, "adapter": False}, {"params": adapter, "adapter": True}]
    return Adam([group for group in groups if group["params"]], betas=(0.9, 0.99), fused=device.type == "cuda")


def set_rate(optimizer: Optimizer, rate: float, adapter_factor: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * adapter_factor if group["adapter"] else rate


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as `parameter.key` -> tensor."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def load_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`, in the parameters' memory formats."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        value = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
