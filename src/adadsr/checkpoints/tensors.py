"""Named tensors out of files that nobody vouches for: the one door for untrusted weights, and what is checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adadsr.errors import CheckpointError

PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of the files that torch.save writes: a zip archive, or a bare pickle (before PyTorch 1.6)."""


class TensorFile(NamedTuple):
    """Tensors by name, and the header's free text (empty for pickles)."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def is_pickle(path: Path) -> bool:
    """Whether the content is a pickle, True, or safetensors, False; by the first bytes, not by the file's name.

    A file that cannot be read, is empty or is neither of the two raises CheckpointError.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; give the path of a checkpoint") from error
    if not start:
        raise CheckpointError(f"{path}: the file is empty; copy or download it again")
    if start[8:] == b"{":  # eight bytes of length, then a JSON header
        return False
    if start.startswith(PICKLE_STARTS):
        return True
    raise CheckpointError(
        f"{path}: is neither safetensors nor a PyTorch file, or is damaged; give a .safetensors, .pt or .pth checkpoint"
    )


def read_metadata(path: Path) -> dict[str, str]:
    """The free text in the header of a safetensors file, without reading a tensor. Errors as for `read_safetensors`."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_safetensors(path: Path) -> TensorFile:
    """All tensors of a safetensors file. A damaged or truncated file raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return TensorFile(tensors, dict(file.metadata() or {}))
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_pickle(path: Path) -> object:
    """What torch.save wrote, restricted to tensors and plain containers: no code of the file is ever run.

    Anything else in the file, and damage, raise CheckpointError.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are not what they claim to be can fail anywhere inside the unpickler
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"{path}: is damaged, or holds Python objects besides tensors, which are never run: {reason}; "
            "save its state_dict alone and convert that"
        ) from error


def check_fit(path: Path, what: str, tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    """Raise CheckpointError with every missing, unexpected and misshapen name unless `tensors` are the expected ones.

    what: the network and naming that were expected, in words.
    """
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(lists.values()):
        lines = "".join(f"\n  {kind} ({len(names)}): {', '.join(names)}" for kind, names in lists.items() if names)
        raise CheckpointError(f"{path}: is not a complete {what}; give a file that holds exactly its tensors{lines}")


def check_storage(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless every tensor is floating point, dense, and backed by bytes of the file."""
    bad = [name for name, value in tensors.items() if not _is_plain(value)]
    if bad:
        raise CheckpointError(
            f"{path}: not plain floating-point tensors: {', '.join(bad)}; save them as float32 or float16"
        )


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError with the name of every tensor that holds NaN or infinity."""
    bad = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise CheckpointError(f"{path}: NaN or infinity in {', '.join(bad)}; use a checkpoint whose numbers are finite")


def _is_plain(value: Tensor) -> bool:
    return (
        value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
        # A pickle can declare a huge tensor over one stored number; copying that would fill the memory.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged or truncated: {error}; copy or download it again")
