"""Our checkpoints: safetensors whose header holds the configuration, so that a file rebuilds its own network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from adadsr import atomic
from adadsr.checkpoints.tensors import (
    check_finite,
    check_fit,
    check_storage,
    is_pickle,
    read_metadata,
    read_safetensors,
)
from adadsr.errors import CheckpointError, InputError
from adadsr.models import Network, NetworkConfig

FORMAT = "adadsr-1"
"""Value of the header's `format`; a change that older versions cannot read raises the number."""
RESERVED = ("format", "config")
"""Header keys that are not free text."""
STORAGE_TYPES = (torch.float32, torch.float16, torch.bfloat16)


class Header(NamedTuple):
    """What a checkpoint says about itself: the network, and free text such as licence or recipe."""

    config: NetworkConfig
    metadata: dict[str, str]


def save(
    network: Network,
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights and configuration; the file appears under its name only when it is complete.

    dtype: how the numbers are stored, float32, float16 or bfloat16; float16 halves the file. metadata: free text for
    the header (name, licence, recipe). Raises InputError for what cannot be stored, CheckpointError for NaN or
    infinity (also where float16 overflows) and for a path that cannot be written.
    """
    path = Path(path)
    if dtype not in STORAGE_TYPES:
        raise InputError(f"dtype={dtype} is not one of {', '.join(map(str, STORAGE_TYPES))}")
    for key, value in (metadata or {}).items():
        if key in RESERVED or not isinstance(value, str):
            raise InputError(f"metadata {key!r}: {value!r}; values are text, and {' and '.join(RESERVED)} are taken")
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    check_finite(path, tensors)
    header = {**(metadata or {}), "format": FORMAT, "config": json.dumps(asdict(network.config))}
    _write(path, to_bytes(tensors, metadata=header))


def load(path: str | Path, *, device: str | torch.device = "cpu") -> Network:
    """The network in a file that `save` wrote, float32, in evaluation mode.

    Raises CheckpointError for a file that is missing, damaged, of another format, or whose tensors are not finite or
    not exactly those of its configuration.
    """
    path = Path(path)
    config = read_header(path).config
    return rebuild(config, read_safetensors(path).tensors, path, device=device)


def read_header(path: str | Path) -> Header:
    """Configuration and free text in the header; no tensor is read. Errors as for `load`."""
    path = Path(path)
    metadata = {} if is_pickle(path) else read_metadata(path)
    found = metadata.get("format")
    if found != FORMAT:
        advice = "update adadsr" if found and found.startswith("adadsr-") else f"run `adadsr convert {path} OUT`"
        raise CheckpointError(f"{path}: format {found!r} is not {FORMAT!r}; {advice}")
    config = _parse_config(path, metadata.get("config"))
    return Header(config, {key: value for key, value in metadata.items() if key not in RESERVED})


def rebuild(
    config: NetworkConfig, tensors: Mapping[str, Tensor], path: Path, *, device: str | torch.device = "cpu"
) -> Network:
    """A network of `config` with these weights (any floating-point type; kept as float32), in evaluation mode.

    Raises CheckpointError, which names `path`, for tensors that are not finite or not exactly those of `config`.
    """
    check_storage(path, tensors)
    # The configuration is as untrusted as the tensors: what it asks for is bounded by what the file holds.
    if config.n_groups * config.n_resblocks > len(tensors) or config.n_feats > sum(t.numel() for t in tensors.values()):
        raise CheckpointError(f"{path}: {len(tensors)} tensors are too few for {describe(config)}; get the whole file")
    network = empty_network(config, path)
    check_fit(path, describe(config), tensors, {name: value.shape for name, value in network.state_dict().items()})
    check_finite(path, tensors)
    network.to_empty(device=device)
    network.load_state_dict(tensors)
    return network.eval()


def empty_network(config: NetworkConfig, path: Path) -> Network:
    """A network of `config` without memory for its weights (device `meta`), to be asked for names and shapes."""
    try:
        with torch.device("meta"):
            return Network(config)
    except InputError as error:
        raise CheckpointError(f"{path}: its configuration is not valid: {error}") from error


def describe(config: NetworkConfig) -> str:
    """A configuration in words, for messages."""
    groups = f"{config.n_groups} groups of " if config.n_groups > 1 else ""
    return f"{config.kind} x{config.scale} with {groups}{config.n_resblocks} blocks and {config.n_feats} features"


def _parse_config(path: Path, text: str | None) -> NetworkConfig:
    try:
        values = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the header's configuration is missing or damaged; get the file again"
        ) from error
    known = [field.name for field in fields(NetworkConfig)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise CheckpointError(
            f"{path}: configuration {text}, not with the keys {', '.join(known)}; another version of adadsr wrote it"
        )
    try:
        return NetworkConfig(**values)
    except (InputError, TypeError) as error:
        raise CheckpointError(f"{path}: its configuration {text} is not valid: {error}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic.replacing(path) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
