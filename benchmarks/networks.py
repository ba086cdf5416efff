"""Networks to be timed: what they compute does not matter, only that it stays finite."""

import numpy as np
import torch
from torch import Tensor

from adadsr.graph import NetworkWeights, map_arrays
from adadsr.networks import Model, NetworkConfig, assemble, tensor_shapes

UPDATE_SCALE = 0.1
"""Of the last conv of a residual block, so that features neither grow nor vanish over the depth."""


def random_model(config: NetworkConfig) -> Model:
    """A network with random weights."""
    rng = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 4:
            return np.full(shape, 0.0 if name.endswith("bias") else 0.25, np.float32)
        bound = (UPDATE_SCALE if "conv2" in name else 1.0) / np.sqrt(np.prod(shape[1:]))
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return Model(config, {name: draw(name, shape) for name, shape in tensor_shapes(config).items()})


def random_network(config: NetworkConfig) -> NetworkWeights:
    """The same as parts, float32 numpy arrays."""
    return random_model(config).weights()


def shapes_only(config: NetworkConfig) -> NetworkWeights:
    """A network of zeros without memory: enough to price it."""
    return assemble(config, lambda name, shape: np.broadcast_to(np.float32(0), shape))


def as_tensors(part, device: torch.device, dtype: torch.dtype):  # type: ignore[no-untyped-def]
    """A network or a part of one on a device; weights of convs in channels_last."""

    def moved(array: np.ndarray | Tensor) -> Tensor:
        tensor = torch.as_tensor(array).to(device, dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    return map_arrays(part, moved)
