"""Where a model comes from: bundled with the package, a file, or the Hugging Face hub."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import torch

from adadsr.checkpoints.format import load, read_header
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.models import Network, NetworkConfig

BUNDLED = Path(__file__).parents[1] / "bundled"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILE_NAME = "model.safetensors"
"""Of the weights in a folder, and in a repository of the hub."""
FILE_SUFFIXES = (".safetensors", ".pt", ".pth")


class BundledModel(NamedTuple):
    """Weights that come with the package. bytes: size of the file. metadata: free text of its header."""

    name: str
    path: Path
    config: NetworkConfig
    bytes: int
    metadata: dict[str, str]


def bundled_models() -> list[BundledModel]:
    """What is bundled, by name; only headers are read."""
    found = []
    for name, path in _bundled_files().items():
        header = read_header(path)
        found.append(BundledModel(name, path, header.config, path.stat().st_size, header.metadata))
    return found


def model_name(source: str | os.PathLike[str]) -> str:
    """What to call the model of a source in reports: a file's or folder's name without suffix, else the text itself."""
    path = Path(source)
    return path.stem if path.exists() else os.fspath(source)


def load_model(source: str | Path, *, device: str | torch.device = "cpu") -> Network:
    """A network by the name of a bundled model, else by a path, else by a hub id `org/name`; in evaluation mode.

    A path is a file of our format, or a folder with one named model.safetensors. Raises CheckpointError that lists
    what was tried, MissingDependencyError for a hub id where the extra `hub` is not installed.
    """
    text, path = str(source), Path(source)
    bundled = _bundled_files()
    if text in bundled:
        return load(bundled[text], device=device)
    if text and path.exists():
        return load(_in_folder(path) if path.is_dir() else path, device=device)
    known = ", ".join(bundled) or "none"
    tried = f"{text or repr(text)}: no bundled model of that name (there are: {known}); no such file or folder"
    if not HUB_ID.fullmatch(text) or path.suffix in FILE_SUFFIXES:
        raise CheckpointError(f"{tried}; not a hub id, which has the form org/name; give one of the three")
    try:
        from adadsr.checkpoints import hub

        return hub.from_pretrained(text, device=device)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{tried}; {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{tried}; {error}") from error


def _bundled_files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors"))}


def _in_folder(folder: Path) -> Path:
    path = folder / FILE_NAME
    if not path.exists():
        raise CheckpointError(f"{folder}: this folder holds no {FILE_NAME}; give a model's file, its name or a hub id")
    return path
