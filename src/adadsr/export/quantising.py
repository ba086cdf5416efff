"""Dense networks with convs in int8, by ONNX Runtime's static quantisation."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from adadsr.errors import ExportError, InputError, MissingDependencyError
from adadsr.export.framing import IMAGE_TYPES
from adadsr.export.network import Form
from adadsr.export.verifying import inputs_of, load
from adadsr.metrics import psnr_y

Pixels = npt.NDArray[np.uint8]
LARGEST_SIDE = 192
"""Photos are cut to at most this many LR pixels: more do not change the ranges of the features."""
MOST_LOSS = 0.1
"""Loss of PSNR-Y in dB above which a file is refused by default."""
KEPT_CONVS = 1
"""Convs at either end of the network that stay in float32: they see and make the colours."""


@dataclass(frozen=True)
class Int8:
    """How a network is quantised.

    pairs: photos as LR and HR, (H, W, 3) and (s*H, s*W, 3); half of them give the ranges, the others the loss.
    most_loss: in dB of PSNR-Y; a file that loses more is refused.
    """

    pairs: Sequence[tuple[Pixels, Pixels]]
    most_loss: float = MOST_LOSS

    def __post_init__(self) -> None:
        if len(self.pairs) < 2:
            raise InputError(f"int8 has {len(self.pairs)} photos; pass at least two: one to calibrate, one to measure")


class Quantised(NamedTuple):
    """A file, and the loss of PSNR-Y in dB against the same network in float32."""

    content: bytes
    loss: float


def quantise(content: bytes, form: Form, int8: Int8) -> Quantised:
    """Quantise a dense file.

    Raises:
        ExportError: It loses too much, or a photo is smaller than the file's only size.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    pairs = [_cropped(*pair, form) for pair in int8.pairs]
    quantised = _quantised(content, form, [lr for lr, _ in pairs[::2]])
    measured = pairs[1::2]
    loss = _psnr(content, form, measured) - _psnr(quantised, form, measured)
    if not loss <= int8.most_loss:
        raise ExportError(
            f"int8 loses {loss:.3f} dB of PSNR-Y on {len(measured)} photos, more than {int8.most_loss:g}; "
            "allow it with --int8-loss, or export in float32"
        )
    return Quantised(quantised, loss)


def _quantised(content: bytes, form: Form, images: Sequence[Pixels]) -> bytes:
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as missing:
        raise MissingDependencyError("int8 needs the package onnxruntime; pip install 'adadsr[export]'") from missing

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._inputs: Iterator[Any] = (dict(inputs_of(image, form, None)) for image in images)

        def get_next(self) -> Any:
            return next(self._inputs, None)

    with tempfile.TemporaryDirectory() as folder, _Quiet():
        whole, prepared, result = (str(Path(folder) / f"{name}.onnx") for name in ("whole", "prepared", "int8"))
        Path(whole).write_bytes(content)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        convs = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantize_static(
            prepared,
            result,
            Reader(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[*convs[:KEPT_CONVS], *convs[-KEPT_CONVS:]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return Path(result).read_bytes()


class _Quiet:
    """Keeps ONNX Runtime from advising by the standard logger."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)


def _cropped(lr: Pixels, hr: Pixels, form: Form) -> tuple[Pixels, Pixels]:
    """The middle of a photo in the size of the file, or no larger than `LARGEST_SIDE`."""
    scale = hr.shape[0] // lr.shape[0]
    width, height = form.size or (min(side, LARGEST_SIDE) for side in lr.shape[1::-1])
    if lr.shape[0] < height or lr.shape[1] < width:
        given = f"{lr.shape[1] * scale}x{lr.shape[0] * scale}"
        raise ExportError(f"a photo for int8 has {given} pixels; a file for {width}x{height} needs larger ones")
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(image[top * s : (top + height) * s, left * s : (left + width) * s])
        for image, s in ((lr, 1), (hr, scale))
    )


def _psnr(content: bytes, form: Form, pairs: Sequence[tuple[Pixels, Pixels]]) -> float:
    """Mean PSNR-Y of a file in dB."""
    run, found = load(content, "onnxruntime"), []
    for lr, hr in pairs:
        upscaled = run(inputs_of(lr, form, None))["upscaled"][0]
        image = upscaled if IMAGE_TYPES[form.image].is_bytes else upscaled.transpose(1, 2, 0).round().astype(np.uint8)
        found.append(psnr_y(np.ascontiguousarray(image), hr, hr.shape[0] // lr.shape[0]))
    return float(np.mean(found))
