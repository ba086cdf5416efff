"""A model to an ONNX file, complete, checked and described by itself."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adadsr import atomic, checkpoints
from adadsr.errors import ExportError, InputError, cause_of
from adadsr.export.network import Form, to_onnx
from adadsr.export.quantising import Int8, quantise
from adadsr.export.verifying import Difference, verify
from adadsr.networks import Model


class Exported(NamedTuple):
    """What was written. differences: what `verify` saw, one of each runtime. loss: that of int8, see `Quantised`."""

    path: Path
    bytes: int
    differences: tuple[Difference, ...]
    loss: float | None = None


def export(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    form: Form | None = None,
    *,
    runtimes: Sequence[str] = (),
    int8: Int8 | None = None,
) -> Exported:
    """Write a model as ONNX, completely or not at all.

    Args:
        source: A bundled name, a checkpoint file, or a Hugging Face id.
        path: The file to write; it is replaced if it exists.
        form: The form of the file; None for the defaults.
        runtimes: Runtimes in which the file is compared with the package before it is kept; see `verify`.
        int8: Quantise a dense network, and measure what it loses.

    Raises:
        ExportError: The network cannot be exported, the file differs from the network or loses too much, or writing
            fails.
        InputError: int8 without a dense form, or with float16 or a comparison.
        CheckpointError: The model does not exist, or its file is corrupt.
        MissingDependencyError: A runtime is not installed.
    """
    path, form, loss = Path(path), form or Form(), None
    if int8 is not None and (not form.dense or form.half or runtimes):
        raise InputError("int8 needs a dense file in float32, and is measured instead of compared")
    model = load_model(source, half=form.half)
    content = to_onnx(model.weights(), form, metadata_of(source, model)).SerializeToString()
    differences = verify(content, model, form, runtimes)
    if int8 is not None:
        content, loss = quantise(content, form, int8)
    try:
        with atomic.replacing(path) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        raise ExportError(f"{path}: cannot write ({cause_of(error)}); choose another path") from error
    return Exported(path, len(content), differences, loss)


def load_model(source: str | os.PathLike[str], *, half: bool) -> Model:
    """A model; half: with weights that float16 can hold. Raises ExportError, CheckpointError."""
    model = checkpoints.load_model(source)
    return _rounded(model) if half else model


def _rounded(model: Model) -> Model:
    """The same with weights that float16 can hold. Raises ExportError if one is too large for it."""
    with np.errstate(over="ignore"):  # values beyond float16 become infinite, and are refused
        halves = {name: tensor.astype(np.float16) for name, tensor in model.tensors.items()}
    for name, tensor in halves.items():
        if not np.isfinite(tensor).all():
            raise ExportError(f"{name}: a weight is too large for float16; export without half")
    return Model(model.config, {name: tensor.astype(np.float32) for name, tensor in halves.items()})


def metadata_of(source: str | os.PathLike[str], model: Model) -> dict[str, str]:
    """What the file says about its origin: the header of the checkpoint, licence and provenance included."""
    header = checkpoints.model_metadata(source)
    own = {"name": checkpoints.model_name(source), "config": json.dumps(asdict(model.config))}
    return {"licence": "not stated by the checkpoint", **header, **own}
