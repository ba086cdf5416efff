"""Our checkpoint format: safetensors with the configuration in the header, so that a file describes its own network."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save as to_bytes

from adadsr import atomic
from adadsr.checkpoints.tensors import Tensors, check_finite, check_fit, is_pickle, read_metadata, read_safetensors
from adadsr.errors import CheckpointError, InputError, cause_of
from adadsr.networks import Model, NetworkConfig, tensor_shapes
from adadsr.networks.layouts import Shape

FORMAT = "adadsr-1"
"""The header's `format`; the number changes if older versions cannot read the file."""
RESERVED = ("format", "config")
"""Header keys that are not free text."""
STORAGE_TYPES = ("float32", "float16")
LATER = {"unshuffle": 1, "exits": False}
"""Fields of a configuration that the first versions lack, and their default."""
FILE_NAME = "model.safetensors"
"""Name of the weights in a folder and in a repository of the hub."""


class Header(NamedTuple):
    """A checkpoint's description of itself: the network, and free text such as licence or recipe."""

    config: NetworkConfig
    metadata: dict[str, str]


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights and configuration, completely or not at all.

    Args:
        model: The network.
        path: The file.
        dtype: Type of the stored weights, one of `STORAGE_TYPES`; float16 halves the file.
        metadata: Free text for the header (name, licence, recipe).

    Raises:
        InputError: The type or a metadata key is not allowed.
        CheckpointError: A weight is NaN or infinite, possibly because float16 overflows, or writing fails.
    """
    path = Path(path)
    if dtype not in STORAGE_TYPES:
        raise InputError(f"dtype={dtype} is not one of {', '.join(STORAGE_TYPES)}")
    for key, value in (metadata or {}).items():
        if key in RESERVED or not isinstance(value, str):
            raise InputError(
                f"metadata {key!r}={value!r}: values must be strings; {' and '.join(RESERVED)} are reserved"
            )
    with np.errstate(over="ignore"):  # values beyond float16 become infinite, and are refused
        stored = {name: np.ascontiguousarray(value, dtype) for name, value in model.tensors.items()}
    check_finite(path, stored)
    header = {**(metadata or {}), "format": FORMAT, "config": json.dumps(_stored(model.config))}
    _write(path, to_bytes(stored, header))


def load(path: str | os.PathLike[str]) -> Model:
    """The network in a file written by `save`, as float32.

    Raises:
        CheckpointError: The file is missing, corrupt or in another format, or its tensors are not finite or not exactly
            those of its configuration.
    """
    path = Path(path)
    return checked_model(read_header(path).config, read_safetensors(path).tensors, path)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Configuration and free text of the header; no tensor is read. Errors as for `load`."""
    path = Path(path)
    metadata = {} if is_pickle(path) else read_metadata(path)
    found = metadata.get("format")
    if found != FORMAT:
        advice = "update adadsr" if found and found.startswith("adadsr-") else f"run `adadsr convert {path} OUT`"
        raise CheckpointError(f"{path}: format {found!r} is not {FORMAT!r}; {advice}")
    config = _parse_config(path, metadata.get("config"))
    return Header(config, {key: value for key, value in metadata.items() if key not in RESERVED})


def checked_model(config: NetworkConfig, tensors: Tensors, path: Path) -> Model:
    """The model with these tensors. Raises CheckpointError, naming `path`, if they do not fit `config`."""
    # The configuration is as untrusted as the tensors: the content of the file bounds the network it may describe.
    if config.n_groups * config.n_resblocks > len(tensors) or config.n_feats > sum(t.size for t in tensors.values()):
        raise CheckpointError(
            f"{path}: {len(tensors)} tensors are too few for {describe(config)}; the file is incomplete"
        )
    check_fit(path, describe(config), tensors, expected_shapes(config, path))
    check_finite(path, tensors)
    return Model(config, tensors)


def expected_shapes(config: NetworkConfig, path: Path) -> dict[str, Shape]:
    """Name -> shape of the tensors of `config`. Raises CheckpointError, naming `path`, if it is invalid."""
    try:
        return tensor_shapes(config)
    except InputError as error:
        raise CheckpointError(f"{path}: invalid configuration: {error}") from error


def describe(config: NetworkConfig) -> str:
    """A configuration in words, for messages."""
    groups = f"{config.n_groups} groups of " if config.n_groups > 1 else ""
    return f"{config.kind} x{config.scale} with {groups}{config.n_resblocks} blocks and {config.n_feats} features"


def _stored(config: NetworkConfig) -> dict[str, str | int | bool]:
    """The configuration for a header; what older versions do not know only where it matters."""
    values = asdict(config)
    return {key: value for key, value in values.items() if key not in LATER or value != LATER[key]}


def _parse_config(path: Path, text: str | None) -> NetworkConfig:
    try:
        values = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the configuration in the header is missing or corrupt; get the file again"
        ) from error
    known = [field.name for field in fields(NetworkConfig)]
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise CheckpointError(
            f"{path}: configuration {text} does not have the keys {', '.join(known)}; "
            "it was written by another version of adadsr"
        )
    try:
        return NetworkConfig(**values)
    except (InputError, TypeError) as error:
        raise CheckpointError(f"{path}: invalid configuration {text}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic.replacing(path) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write ({cause_of(error)}); choose another path") from error
