"""The networks: EDSR, RCAN and their adaptive forms as published, plus depth at tile resolution; ESRGAN and Compact.

config   the configuration of a network
layouts  from named arrays to the weights of each part, for every backbone
registry named configurations
model    configuration and tensors of a network
module   `Network`, a torch module of the parameters, for training
depth_maps  from scores to depth maps in torch; nothing but these two needs torch
"""

from typing import TYPE_CHECKING, Any

from adadsr.networks.config import SCALES, NetworkConfig
from adadsr.networks.layouts import BACKBONES, assemble, tensor_shapes
from adadsr.networks.model import Model
from adadsr.networks.registry import CONFIGS, named_config

if TYPE_CHECKING:
    from adadsr.networks.module import Network, Restoration

__all__ = [
    "BACKBONES",
    "CONFIGS",
    "SCALES",
    "Model",
    "Network",
    "NetworkConfig",
    "Restoration",
    "assemble",
    "named_config",
    "tensor_shapes",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, since only `module` and what it uses need torch.
    if name in ("Network", "Restoration"):
        from adadsr.networks import module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
