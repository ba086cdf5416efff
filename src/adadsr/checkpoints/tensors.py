"""Named tensors from untrusted files: the only code that reads weights, and the checks that they pass."""

import importlib.util
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize, safe_open

from adadsr.errors import CheckpointError, MissingDependencyError, cause_of
from adadsr.networks.layouts import Shape

Tensors: TypeAlias = dict[str, npt.NDArray[np.float32]]

PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of files written by torch.save: a zip archive, or a bare pickle (before PyTorch 1.6)."""
_OBJECT = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_][\w.]{0,199})")
"""What torch says it refused to make, of which a file asked for it."""
_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


class TensorFile(NamedTuple):
    """Tensors by name as float32, and the header's free text."""

    tensors: Tensors
    metadata: dict[str, str]


def is_pickle(path: Path) -> bool:
    """Whether the content is a pickle (True) or safetensors (False), by its first bytes, not by the file name.

    Raises CheckpointError if the file cannot be read, is empty or is neither of the two.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read ({cause_of(error)}); pass the path of a checkpoint") from error
    if not start:
        raise CheckpointError(f"{path}: empty file; copy or download it again")
    if start[8:] == b"{":  # eight bytes of length, then a JSON header
        return False
    if start.startswith(PICKLE_STARTS):
        return True
    raise CheckpointError(
        f"{path}: corrupt, or neither safetensors nor a PyTorch file; pass a .safetensors, .pt or .pth checkpoint"
    )


def read_metadata(path: Path) -> dict[str, str]:
    """Free text in the header of a safetensors file; no tensor is read. Errors as for `read_safetensors`."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_safetensors(path: Path) -> TensorFile:
    """All tensors of a safetensors file, as float32. Raises CheckpointError if corrupt or not floating point."""
    metadata = read_metadata(path)
    try:
        views: list[tuple[str, dict[str, Any]]] = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    bad = [name for name, view in views if view["dtype"] not in (*_FLOATS, "BF16")]
    if bad:
        raise _not_plain(path, bad)
    return TensorFile({name: _decode(view) for name, view in views}, metadata)


def _decode(view: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    if view["dtype"] == "BF16":  # the upper half of a float32, a type that numpy lacks
        bits = np.frombuffer(view["data"], np.uint16).astype(np.uint32) << 16
        widened: npt.NDArray[np.float32] = bits.view(np.float32).reshape(view["shape"])
        return widened
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused as such
        stored = np.frombuffer(view["data"], _FLOATS[view["dtype"]])
        converted: npt.NDArray[np.float32] = stored.astype(np.float32).reshape(view["shape"])
        return converted


def read_pickle(path: Path) -> object:
    """The content of a torch.save file, restricted to tensors and plain containers: code in the file is never executed.

    Raises CheckpointError if the file is corrupt or contains anything else, MissingDependencyError without torch.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError(f"{path}: PyTorch files need torch; pip install 'adadsr[torch]'")
    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*TorchScript")  # which is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        objects = "Python objects other than tensors, which are never executed"
        if found := _OBJECT.search(str(error)):
            raise CheckpointError(
                f"{path}: contains {objects} ({found[1]}); save its state_dict and convert that"
            ) from error
        raise CheckpointError(
            f"{path}: corrupt, or contains {objects}; download it again, or save its state_dict and convert that"
        ) from error
    except Exception as error:  # corrupt bytes can fail anywhere inside the unpickler
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path}: a TorchScript program, which is never executed; save its state_dict and convert that"
            ) from error
        raise CheckpointError(f"{path}: corrupt or truncated; copy or download it again") from error


def from_torch(path: Path, tensors: Mapping[str, Any]) -> Tensors:
    """Tensors of a pickle as arrays; CheckpointError unless all are floating point, dense and backed by the file."""
    bad = [name for name, value in tensors.items() if not _is_plain(value)]
    if bad:
        raise _not_plain(path, bad)
    return {name: value.detach().float().numpy() for name, value in tensors.items()}


def _is_plain(value: Any) -> bool:
    import torch

    return bool(
        value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
        # A pickle can declare a huge tensor backed by one stored number; copying it would fill the memory.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def check_fit(path: Path, what: str, tensors: Mapping[str, Any], expected: Mapping[str, Shape]) -> None:
    """Raise CheckpointError with all missing, unexpected and misshapen names unless `tensors` are the expected ones.

    what: the expected network and naming, in words.
    """
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(shape)
    ]
    lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(lists.values()):
        lines = "".join(f"\n  {kind} ({len(names)}): {', '.join(names)}" for kind, names in lists.items() if names)
        raise CheckpointError(f"{path}: does not match {what}{lines}")


def check_finite(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise CheckpointError with the name of every tensor that contains NaN or infinity."""
    bad = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if bad:
        raise CheckpointError(f"{path}: contains NaN or infinity in {', '.join(bad)}; use another checkpoint")


def _not_plain(path: Path, names: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{path}: not plain floating-point tensors: {', '.join(names)}; save them as float32 or float16"
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: corrupt or truncated ({error}); copy or download it again")
