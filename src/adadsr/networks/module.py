"""`Network`: the parameters of a network as a torch module; `layouts` defines their roles."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.graph import NetworkWeights
from adadsr.networks.config import NetworkConfig
from adadsr.networks.depth_maps import depths_at
from adadsr.networks.layouts import Shape, assemble
from adadsr.networks.model import Model
from adadsr.tensor_ops import OPS


class Restoration(NamedTuple):
    """Result of a network: sr (N, 3, s*H, s*W) in 0..255, and the depth map, None at full depth."""

    sr: Tensor
    depth_map: Tensor | None


class Network(nn.Module):
    """The parameters of one network, by the names of `layouts`. `forward` is the dense definition."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        """Create a network with random weights. Raises InputError for an invalid configuration.

        generator: for the weights, on the CPU; None for torch's global one.
        """
        super().__init__()
        self.config = config
        assemble(config, partial(self._register, generator))

    def weights(self) -> NetworkWeights:
        """The parameters grouped by parts, as tensors with gradients."""
        return assemble(self.config, lambda name, shape: self.get_parameter(name))

    def model(self) -> Model:
        """A copy of the parameters as numpy arrays, for checkpoints and engines."""
        tensors = {
            name: value.detach().to("cpu", torch.float32, copy=True) for name, value in self.state_dict().items()
        }
        return Model(self.config, {name: value.numpy() for name, value in tensors.items()})

    @classmethod
    def of(cls, model: Model) -> "Network":
        """A network with a copy of a model's tensors."""
        with torch.device("meta"):
            network = cls(model.config)
        tensors = {name: torch.tensor(value) for name, value in model.tensors.items()}
        network.load_state_dict(tensors, assign=True)
        return network.requires_grad_()

    def forward(self, lr: Tensor, desired_depth: float | Tensor | None = None) -> Restoration:
        """lr: (N, 3, H, W) in 0..255, whose sides are multiples of `unshuffle`.

        desired_depth: in blocks, one number or (N,); None for full depth.
        """
        weights, unshuffle = self.weights(), self.config.unshuffle
        lr = lr if unshuffle == 1 else F.pixel_unshuffle(lr, unshuffle)
        z0: Tensor = weights.head.run(OPS, lr)
        depth_map = None if desired_depth is None else self.predict_depth(z0, desired_depth)
        z = weights.body.run(OPS, z0, depth_map)
        return Restoration(weights.restore(OPS, lr, z), depth_map)

    def predict_depth(self, z0: Tensor, desired_depth: float | Tensor) -> Tensor:
        """The adapter's depth map for features z0 (N, C, H, W): (N, G, ceil(H/t), ceil(W/t)), in blocks, >= 0.

        desired_depth: in blocks, one number or (N,). Tiles of one colour are like others here; `Upscaler` gives them
            one depth (`calibration.keep_colors`). Raises InputError if the network has no adapter.
        """
        weights = self.weights()
        desired = torch.as_tensor(desired_depth, dtype=z0.dtype, device=z0.device).expand(z0.shape[0])
        return depths_at(weights, weights.require_adapter().run(OPS, z0, desired), desired)

    def _register(self, generator: torch.Generator | None, name: str, shape: Shape) -> Tensor:
        """Add a parameter, with a module for each part of its dotted name."""
        *path, last = name.split(".")
        module: nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        parameter = nn.Parameter(torch.empty(shape))
        _initialise(parameter, name, module, generator)
        module.register_parameter(last, parameter)
        return parameter


def _initialise(parameter: nn.Parameter, name: str, module: nn.Module, generator: torch.Generator | None) -> None:
    """Initialise as torch's own layers do; PReLU slopes are 0.25. name: dotted, in the network."""
    with torch.no_grad():
        if parameter.ndim == 4:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=generator)
        elif name.endswith(".bias"):
            fan_in = module.get_parameter("weight")[0].numel()
            nn.init.uniform_(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator)
        elif name.endswith((".slope", ".activation.weight")):
            nn.init.constant_(parameter, 0.25)
        else:
            raise NotImplementedError(
                f"{name}: no initial values are defined for this tensor of shape {tuple(parameter.shape)}; "
                "add a rule to networks.module._initialise"
            )
