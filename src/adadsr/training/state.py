"""The state of a run on disk: a few safetensors files, and a manifest that makes them a set.

The manifest is replaced last, so it always names complete files; files that it no longer names are removed.
"""

import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from adadsr import atomic
from adadsr.errors import CheckpointError, cause_of

MANIFEST = "state.json"
FORMAT = "adadsr-state-2"


class State(NamedTuple):
    """parts: name of a file -> its tensors by name. about: plain values, such as recipe, position and counters."""

    parts: dict[str, dict[str, Tensor]]
    about: dict[str, Any]


def write_state(folder: Path, state: State) -> None:
    """Replace the set in `folder`. Raises CheckpointError if it cannot, which leaves the earlier set untouched."""
    stamp, files = secrets.token_hex(4), {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part, tensors in state.parts.items():
            content = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
            name = f"{part}-{stamp}.safetensors"
            with atomic.replacing(folder / name) as hidden:
                hidden.write_bytes(content)
            files[part] = {"name": name, "sha256": hashlib.sha256(content).hexdigest()}
        manifest = {"format": FORMAT, "files": files, "about": state.about}
        atomic.write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    except OSError as error:
        for entry in files.values():
            (folder / entry["name"]).unlink(missing_ok=True)
        kept = "the previous one is intact; " if has_state(folder) else ""
        raise CheckpointError(
            f"{folder}: cannot save the state ({cause_of(error)}); {kept}free some space and repeat the command"
        ) from error
    current = {entry["name"] for entry in files.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in current:
            path.unlink(missing_ok=True)


def has_state(folder: Path) -> bool:
    """Whether `folder` holds the state of a run."""
    return (folder / MANIFEST).exists()


def read_state(folder: Path) -> State:
    """The set in `folder`. Raises CheckpointError if a file is missing or differs from the one that was written."""
    with _manifest(folder) as manifest:
        parts = {}
        for part, entry in manifest["files"].items():
            file = folder / Path(entry["name"]).name
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise CheckpointError(f"{file}: was modified; restore it or choose another --out")
            parts[part] = from_bytes(content)
        return State(parts, manifest["about"])


def read_about(folder: Path) -> dict[str, Any]:
    """`State.about` of the set in `folder`, without its tensors. Raises CheckpointError if the manifest is corrupt."""
    with _manifest(folder) as manifest:
        about: dict[str, Any] = manifest["about"]
    return about


@contextlib.contextmanager
def _manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest of a set. Raises CheckpointError if it is corrupt, or what the block reads by it."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {manifest['format']!r} is not {FORMAT!r}; choose another --out")
        yield manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is corrupt ({error}); restore it or choose another --out") from error
