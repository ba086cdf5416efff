"""Sources of models: bundled with the package, a file, or the Hugging Face hub."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from adadsr.checkpoints.format import FILE_NAME, load, read_header
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.networks import SCALES, Model, NetworkConfig

BUNDLED = Path(__file__).parents[1] / "bundled"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILE_SUFFIXES = (".safetensors", ".pt", ".pth")
DEFAULT_FAMILY = "adaedsr-baseline"
"""Bundled networks that run where no model is named; their names end in the scale, as -x2."""
PHOTO_FAMILY = "adaedsr-photo"
"""Likewise, for pictures whose format loses detail, such as JPEG."""
DEFAULT_SCALE = 2


class BundledModel(NamedTuple):
    """A model and its file, bundled with the package unless it is `described_model`'s.

    bytes: size of the file. metadata: free text of its header.
    """

    name: str
    path: Path
    config: NetworkConfig
    bytes: int
    metadata: dict[str, str]


def bundled_models() -> list[BundledModel]:
    """The bundled models, sorted by name; only headers are read."""
    return [_in_file(name, path) for name, path in _bundled_files().items()]


def described_model(source: str | os.PathLike[str]) -> BundledModel:
    """What the header says of a model that `load_model` can load; no tensor is read. Errors as for it."""
    return _in_file(model_name(source), _file_of(source))


def _in_file(name: str, path: Path) -> BundledModel:
    header = read_header(path)
    return BundledModel(name, path, header.config, path.stat().st_size, header.metadata)


def bundled_family(family: str) -> dict[int, str]:
    """Names of the bundled networks of a family by scale, in ascending order; see `DEFAULT_FAMILY`."""
    names = {scale: f"{family}-x{scale}" for scale in SCALES}
    files = _bundled_files()
    return {scale: name for scale, name in names.items() if name in files}


def model_name(source: str | os.PathLike[str]) -> str:
    """Name of a model in reports: the file's or folder's name without suffix, otherwise the source itself."""
    path = Path(source)
    return path.stem if path.exists() else os.fspath(source)


def load_model(source: str | os.PathLike[str]) -> Model:
    """A network by the name of a bundled model, by path, or by hub id `org/name`, tried in this order.

    A path is a file in our format, or a folder with such a file named model.safetensors. Raises CheckpointError, which
    lists what was tried; MissingDependencyError for a hub id if the extra `hub` is not installed.
    """
    return load(_file_of(source))


def model_metadata(source: str | os.PathLike[str]) -> dict[str, str]:
    """Free text of the header of a model that `load_model` can load, such as its licence. Errors as for it."""
    return read_header(_file_of(source)).metadata


def _file_of(source: str | os.PathLike[str]) -> Path:
    """The file of a model; one on the hub is fetched. Source and errors as for `load_model`."""
    text, path = os.fspath(source), Path(source)
    bundled = _bundled_files()
    if text in bundled:
        return bundled[text]
    if text and path.exists():
        return _in_folder(path) if path.is_dir() else path
    known = ", ".join(bundled) or "none"
    tried = f"{text or repr(text)}: not a bundled model (available: {known}) and not a file or folder"
    if not HUB_ID.fullmatch(text) or path.suffix in FILE_SUFFIXES:
        raise CheckpointError(f"{tried}; pass one of these or a Hugging Face id (org/name)")
    try:
        from adadsr.checkpoints import hub

        return Path(hub.fetch(text))
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{tried}; {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{tried}; {error}") from error


def _bundled_files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors"))}


def _in_folder(folder: Path) -> Path:
    path = folder / FILE_NAME
    if not path.exists():
        raise CheckpointError(f"{folder}: no {FILE_NAME} in this folder; pass a file, a bundled name or a hub id")
    return path
