"""A network as stored in a checkpoint: its configuration and its tensors by name."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adadsr.graph import NetworkWeights
from adadsr.networks.config import NetworkConfig
from adadsr.networks.layouts import assemble


@dataclass(frozen=True, eq=False)
class Model:
    """A network. tensors: float32, by the names of `layouts.tensor_shapes(config)`; not copied."""

    config: NetworkConfig
    tensors: Mapping[str, npt.NDArray[np.float32]]

    def weights(self) -> NetworkWeights:
        """The tensors grouped by parts, as engines need them."""
        return assemble(self.config, self.tensors)

    def digest(self) -> str:
        """A digest of configuration and weights, the same wherever the model came from and however it was stored."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, value in sorted(self.tensors.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value, np.float32).tobytes())
        return digest.hexdigest()
