"""An exported file in other runtimes against the package."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.errors import BudgetError, ExportError, MissingDependencyError
from adadsr.export.framing import IMAGE_TYPES
from adadsr.export.network import Form, limits_of
from adadsr.graph.parts import FULL_RANGE
from adadsr.machine import default_threads
from adadsr.networks import Model
from adadsr.upscaler import Plan, Prepared, Upscaler

SIZES = ((1, 1), (5, 2), (33, 16), (64, 64), (131, 97), (500, 333))
"""(width, height) of the images."""
BUDGETS = (0.3, 0.5, 0.75, 1.0)
LOSSES = (0.02, 0.2)
"""Predicted losses in dB, each once without a budget, and once with the second of the budgets."""
TOLERANCE = 1e-2
"""Largest difference of a pixel, in 0..255."""
ROUNDING = 0.5
"""What images in uint8 may differ by in addition."""
TIES = 0.005
"""Share of a depth map that may differ, as tiles of nearly equal scores are told apart by rounding."""
TIED = 2
"""Positions that may differ in any case: those of two tiles that change places."""
SHARE_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-3
"""In dB."""

Tensors: TypeAlias = Mapping[str, npt.NDArray[Any]]
Run: TypeAlias = Callable[[Tensors], Tensors]
"""Outputs by name, from inputs by name."""


class Limits(NamedTuple):
    """What a run may cost; see `calibration.LimitValues`. max_loss: None for a file without this input."""

    budget: float
    max_loss: float | None = 0.0

    def __str__(self) -> str:
        return f"budget {self.budget:g}" + (f", max_loss {self.max_loss:g}" if self.max_loss else "")


class Difference(NamedTuple):
    """The largest differences in a runtime. pixel: in 0..255. depths: share of a depth map that differs. runs: made."""

    runtime: str
    pixel: float
    depths: float
    runs: int

    def joined(self, other: "Difference") -> "Difference":
        """The larger differences of both, in the runtime of the other."""
        largest = max(self.pixel, other.pixel), max(self.depths, other.depths)
        return Difference(other.runtime, *largest, self.runs + other.runs)


def _onnx_runtime(content: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _openvino(content: bytes, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", settings)

    def run(inputs: Tensors) -> Tensors:
        results = model(dict(inputs))
        return {name: results[output] for output in model.outputs for name in output.names}

    return run


RUNTIMES: dict[str, Callable[[bytes, int], Run]] = {"onnxruntime": _onnx_runtime, "openvino": _openvino}
"""Package -> how it loads a file."""


def verify(content: bytes, model: Model, form: Form, runtimes: Sequence[str]) -> tuple[Difference, ...]:
    """Compare a file with the package at all sizes and budgets, in each of the runtimes.

    Args:
        content: Of the file.
        model: The network that it was made of.
        form: Its form.
        runtimes: Keys of `RUNTIMES`.

    Raises:
        ExportError: A runtime cannot load or run the file, or its results differ from those of the package.
        MissingDependencyError: A runtime is not installed.
    """
    runs = {runtime: load(content, runtime) for runtime in runtimes}
    totals = {runtime: Difference(runtime, 0.0, 0.0, 0) for runtime in runtimes}
    if not runs:
        return ()
    upscaler = Upscaler(model)
    for image, limits in _cases(form, limits_of(model.weights(), form)):
        expected = _Expected(upscaler.prepare(image / np.float32(FULL_RANGE)), form, limits)
        for runtime, run in runs.items():
            where = f"{runtime} at {image.shape[1]}x{image.shape[0]}" + ("" if limits is None else f", {limits}")
            try:
                outputs = run(inputs_of(image, form, limits))
            except Exception as error:  # each runtime has its own
                raise ExportError(f"{where}: cannot run the file: {_first_line(error)}") from error
            totals[runtime] = expected.compare(outputs, where).joined(totals[runtime])
    return tuple(totals.values())


def load(content: bytes, runtime: str, threads: int | None = None) -> Run:
    """A file in a runtime, a key of `RUNTIMES`. threads: None for those that the process may use.

    Raises ExportError if it does not load, MissingDependencyError if the runtime is not installed.
    """
    try:
        return RUNTIMES[runtime](content, threads or default_threads())
    except ImportError as missing:
        raise MissingDependencyError(
            f"verification needs the package {runtime}; pip install 'adadsr[export]'"
        ) from missing
    except Exception as error:  # each runtime has its own
        raise ExportError(f"{runtime} cannot load the file: {_first_line(error)}") from error


def inputs_of(image: npt.NDArray[np.uint8], form: Form, limits: Limits | None) -> Tensors:
    """Inputs of a file for an image (H, W, 3); limits: None for a dense file."""
    is_bytes = IMAGE_TYPES[form.image].is_bytes
    array = image[None] if is_bytes else image.transpose(2, 0, 1)[None].astype(np.float32)
    given = {} if limits is None else {name: value for name, value in limits._asdict().items() if value is not None}
    return {"image": array, **{name: np.array([value], np.float32) for name, value in given.items()}}


def _cases(form: Form, inputs: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.uint8], Limits | None]]:
    """inputs: as of `limits_of`."""
    limits: list[Limits | None] = [Limits(budget, 0.0 if "max_loss" in inputs else None) for budget in BUDGETS]
    if "max_loss" in inputs:
        limits += [Limits(budget, loss) for loss in LOSSES for budget in (1.0, BUDGETS[1])]
    for width, height in SIZES if form.size is None else (form.size,):
        for each in limits if inputs else (None,):
            yield photo(height, width), each


def photo(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture with smooth, rough and sharp parts."""
    rows, columns = np.mgrid[:height, :width]
    waves = 128 + 70 * np.sin(rows / 9) * np.cos(columns / 7)
    noise = np.random.default_rng(0).normal(0, 30, (height, width)) * (columns > width / 2)
    edges = 60 * ((rows // 6 + columns // 11) % 2) * (rows > height / 2)
    gray = waves + noise + edges
    photo: npt.NDArray[np.uint8] = np.stack([gray, 255 - gray, gray * 0.5 + 40], -1).clip(0, 255).astype(np.uint8)
    return photo


class _Expected:
    """What the package makes of an image within limits; None for full depth."""

    def __init__(self, prepared: Prepared, form: Form, limits: Limits | None) -> None:
        self._prepared, self._is_bytes = prepared, IMAGE_TYPES[form.image].is_bytes
        self._limits = limits
        self._plan = None if limits is None else _plan(prepared, limits)
        self._images: dict[bytes, npt.NDArray[Any]] = {}

    def compare(self, outputs: Tensors, where: str) -> Difference:
        """One run of a file: its pixels for the map that it chose, and its map. Raises ExportError if they differ."""
        depths = 0.0 if self._limits is None else self._compare_map(outputs, self._plan, where)
        image = self._image(None if self._limits is None else outputs["depth_map"][0])
        upscaled = outputs["upscaled"][0].astype(np.float32)
        upscaled = upscaled if self._is_bytes else upscaled.transpose(1, 2, 0)
        pixel = float(np.maximum(np.abs(upscaled - image).max() - (ROUNDING if self._is_bytes else 0), 0))
        if not pixel <= TOLERANCE:  # NaN is not, either
            raise ExportError(f"{where}: a pixel differs by {pixel:.3g} of {FULL_RANGE:g}; the file is not kept")
        return Difference("", pixel, depths, 1)

    def _compare_map(self, outputs: Tensors, plan: Plan | None, where: str) -> float:
        """plan: None if no block fits into the budget."""
        depth_map, share = outputs["depth_map"][0], float(outputs["share"][0])
        if plan is None:
            expected = np.zeros_like(depth_map)
        else:
            blocks = plan.network.n_blocks
            expected = np.full_like(depth_map, blocks) if plan.depth_map is None else plan.depth_map.clip(0, blocks)
        differing = (depth_map != expected).any(axis=0)
        depths = float(differing.mean())
        if differing.sum() > max(TIES * differing.size, TIED):
            raise ExportError(f"{where}: {depths:.1%} of the depth map differs; the file is not kept")
        if plan is None or depths > 0:
            return depths
        if not abs(share - plan.budget) <= SHARE_TOLERANCE:
            raise ExportError(f"{where}: the share is {share:.5f}, not {plan.budget:.5f}; the file is not kept")
        if plan.predicted_loss is not None and "predicted_loss" in outputs:
            loss = float(outputs["predicted_loss"][0])
            if not abs(loss - plan.predicted_loss) <= LOSS_TOLERANCE:
                raise ExportError(
                    f"{where}: the predicted loss is {loss:.4f} dB, not {plan.predicted_loss:.4f}; the file is not kept"
                )
        return depths

    def _image(self, depth_map: npt.NDArray[np.float32] | None) -> npt.NDArray[Any]:
        """The SR image for a depth map, (H, W, 3) in 0..255; runtimes mostly choose the same one."""
        key = b"" if depth_map is None else depth_map.tobytes()
        if key not in self._images:
            image = self._prepared.run(self._prepared.plan(depth_map=depth_map)).image
            self._images[key] = image * np.float32(FULL_RANGE)
        return self._images[key]


def _plan(prepared: Prepared, limits: Limits) -> Plan | None:
    """The cheaper of the plans for both limits; None if no block fits into the budget."""
    try:
        plan = prepared.plan(budget=limits.budget)
    except BudgetError:
        return None
    if not limits.max_loss:
        return plan
    enough = prepared.plan(max_loss=limits.max_loss)
    return enough if limits.budget == 1 or enough.budget <= plan.budget else plan


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
