"""The networks: EDSR, RCAN and their adaptive forms, exactly as published, plus tile-resolution depth."""

from adadsr.models.config import NetworkConfig
from adadsr.models.network import Network, Restoration
from adadsr.models.registry import CONFIGS, build, named_config

__all__ = ["CONFIGS", "Network", "NetworkConfig", "Restoration", "build", "named_config"]
