"""Checkpoints: safetensors whose header holds the configuration, so that a file rebuilds its own network."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from adadsr.models import Network

FORMAT = "adadsr-1"


def save(network: Network, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and configuration. dtype: storage type; float16 halves the file."""
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()
    }
    save_file(tensors, path, metadata={"format": FORMAT, "config": json.dumps(asdict(network.config))})
