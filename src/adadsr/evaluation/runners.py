"""What is evaluated: baselines and networks behind one interface, and the x8 self-ensemble."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from adadsr import checkpoints
from adadsr.backends import Engine, to_numpy
from adadsr.errors import InputError
from adadsr.evaluation.baselines import BASELINES
from adadsr.evaluation.benchmark import Pair, Pixels
from adadsr.evaluation.options import EvaluationOptions
from adadsr.evaluation.paper_cost import paper_cost
from adadsr.evaluation.records import Effort, Result, combine
from adadsr.geometry import Box
from adadsr.graph import Array
from adadsr.machine import default_threads
from adadsr.networks import Model
from adadsr.upscaler import Prepared, Source, Target, Upscaled, Upscaler
from adadsr.upscaler.frame import Frame
from adadsr.upscaler.plan import least_budget

Floats = npt.NDArray[np.float32]
P = ParamSpec("P")
T = TypeVar("T")


class Runner(Protocol):
    """A model and its targets.

    model: its name in tables. targets: in the order of the tables. identity: a digest of what runs and how.
    """

    model: str
    targets: tuple[Target, ...]
    identity: str

    @property
    def engine(self) -> Engine | None:
        """What runs it; None for a baseline."""

    def weight(self, target: Target) -> float:
        """About how long a pixel takes, relative to a network at full depth; for the time left."""

    def run(self, pair: Pair, targets: Sequence[Target]) -> Iterator[Result]:
        """Upscale pair.lr at each of `targets`, in their order."""


class BaselineRunner:
    """An interpolation of `BASELINES`."""

    targets: tuple[Target, ...] = (Target(),)
    engine = None

    def __init__(self, name: str) -> None:
        self.model = self.identity = name

    def weight(self, target: Target) -> float:
        return 0.01

    def run(self, pair: Pair, targets: Sequence[Target]) -> Iterator[Result]:
        for _ in targets:
            upscaled, seconds = _timed(BASELINES[self.model], pair)
            yield Result(upscaled.sr, Effort(seconds), upscaled.luma)


class NetworkRunner:
    """A network through `Upscaler`."""

    def __init__(self, model: Model, name: str, options: EvaluationOptions) -> None:
        """Raises InputError for a target that the network cannot meet, and what `Upscaler` raises."""
        self._upscaler = Upscaler(model, options.execution, name=name)
        self.model, self.engine = name, self._upscaler.engine
        self.targets = options.targets if model.config.adaptive else (Target(),)
        for target in self.targets:
            try:
                target.check(self.engine.network)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        self._self_ensemble = options.self_ensemble
        self.identity = self._digest(model, options)

    def least_budget(self, height: int, width: int) -> float:
        """The least budget that an image of this size can meet."""
        border, network = self._upscaler.execution.border, self.engine.network
        return least_budget(network, Frame.of(height, width, border, network))

    def weight(self, target: Target) -> float:
        share = target.budget or (1.0 if target.depth is None else target.depth / self.engine.network.n_blocks)
        return max(share, 0.1) * (len(ORIENTATIONS) if self._self_ensemble else 1)

    def run(self, pair: Pair, targets: Sequence[Target]) -> Iterator[Result]:
        return (self._run_ensemble if self._self_ensemble else self._run_once)(pair.lr, targets)

    def _run_once(self, lr: Pixels, targets: Sequence[Target]) -> Iterator[Result]:
        for upscaled, effort in self._upscale(lr, targets):
            yield Result(upscaled.image, effort, depth_map=upscaled.depth_map)

    def _run_ensemble(self, lr: Pixels, targets: Sequence[Target]) -> Iterator[Result]:
        """The mean of all orientations in floating point, rounded once (arXiv:1707.02921, section 3.4).

        Orientations are the outer loop: their features are large, whereas the sums stored for each target are not.
        """
        scale, n_groups = self._upscaler.config.scale, self.engine.network.n_groups
        height, width = lr.shape[:2]
        sr = np.zeros((len(targets), scale * height, scale * width, 3), np.float32)
        depths = np.zeros((len(targets), n_groups, height, width), np.float32)
        efforts: list[list[Effort]] = [[] for _ in targets]
        for orientation in ORIENTATIONS:
            source = _FloatSource(np.ascontiguousarray(orientation.apply(lr), np.float32))
            for index, (upscaled, effort) in enumerate(self._upscale(source, targets)):
                sr[index] += orientation.undo(upscaled.image)
                depths[index] += orientation.undo(upscaled.depth_map.transpose(1, 2, 0)).transpose(2, 0, 1)
                efforts[index].append(effort)
        count = len(ORIENTATIONS)
        for index in range(len(targets)):
            rounded = np.rint(sr[index] / count).clip(0, 255).astype(np.uint8)
            yield Result(rounded, combine(efforts[index]), depth_map=depths[index] / count)

    def _upscale(self, image: Pixels | Source, targets: Sequence[Target]) -> Iterator[tuple[Upscaled, Effort]]:
        """One image at each target. Head and adapter run once for all targets that can share them.

        The seconds of a target are those of a call for it alone, so that they compare with any other: the time of a
        shared head and adapter counts for every target that they served.
        """
        network = self.engine.network
        shared: tuple[Prepared, float] | None = None
        for target in targets:
            # Full depth runs no adapter, and one that uses the desired depth runs again for every target: these are
            # prepared on their own, or their time would include one adapter run too many.
            if network.adapter is None or network.adapter.uses_depth or target.is_full(network.n_blocks):
                upscaled, seconds = _timed(self._upscaler, image, **vars(target))
            else:
                shared = shared or _timed(self._upscaler.prepare, image)
                upscaled, seconds = _timed(_run, shared[0], target)
                seconds += shared[1]
            yield upscaled, self._effort(upscaled, seconds)

    def _effort(self, upscaled: Upscaled, seconds: float) -> Effort:
        report, paper = upscaled.report, paper_cost(self._upscaler.config, upscaled.depth_map)
        overflows = int(report.precision != report.requested_precision)
        return Effort(
            seconds,
            report.executed_gmacs,
            report.dense_gmacs,
            report.mean_depth,
            report.predicted_loss,
            *paper,
            overflows,
        )

    def _digest(self, model: Model, options: EvaluationOptions) -> str:
        """A digest of everything but image and target that a result depends on."""
        threads = options.execution.threads or default_threads()
        execution = replace(options.execution, backend=self.engine.backend, threads=threads)
        parts = [model.digest(), self.engine.variant, asdict(execution), options.self_ensemble]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _run(prepared: Prepared, target: Target) -> Upscaled:
    return prepared.run(prepared.plan(**vars(target)))


def _timed(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    return function(*args, **kwargs), time.perf_counter() - start


class Orientation(NamedTuple):
    """A flip and rotation of an image (H, W, ...)."""

    quarter_turns: int
    is_flipped: bool

    def apply(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The image in this orientation."""
        turned = np.rot90(image, self.quarter_turns)
        return turned[:, ::-1] if self.is_flipped else turned

    def undo(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse of `apply`."""
        return np.rot90(image[:, ::-1] if self.is_flipped else image, -self.quarter_turns)


ORIENTATIONS = tuple(Orientation(turns, flip) for turns in range(4) for flip in (False, True))


class _FloatSource:
    """An LR image, (H, W, 3) float32 in 0..255, whose SR image is not rounded."""

    def __init__(self, lr: Floats) -> None:
        self._lr = lr

    def lr(self) -> Floats:
        return self._lr

    def alpha(self) -> None:
        """Benchmarks are opaque."""

    def held_bytes(self, scale: int) -> int:
        return self._lr.nbytes * (1 + scale**2)

    def sink(self, scale: int) -> "_FloatSink":
        height, width, channels = self._lr.shape
        return _FloatSink(np.empty((height * scale, width * scale, channels), np.float32))


class _FloatSink:
    def __init__(self, sr: Floats) -> None:
        self._sr = sr

    def write(self, box: Box, sr: Array) -> None:
        rows, columns = box.slices
        self._sr[rows, columns] = to_numpy(sr)

    def write_alpha(self, box: Box, sr: Array) -> None:
        """Benchmarks are opaque."""

    def image(self) -> Floats:
        return self._sr

    def picture(self) -> None:
        """Floating point has no file form."""


def open_runners(options: EvaluationOptions) -> list[Runner]:
    """The runners of all models, in their order.

    Raises CheckpointError, InputError for a model of another scale or a target that a model cannot meet, and
    BackendError.
    """
    names = [checkpoints.model_name(source) for source in options.models]
    runners: list[Runner] = []
    for name, source in zip(names, options.models, strict=True):
        if source in BASELINES:
            runners.append(BaselineRunner(source))
        else:
            runners.append(_open_network(source if names.count(name) > 1 else name, source, options))
    return runners


def _open_network(name: str, source: str, options: EvaluationOptions) -> NetworkRunner:
    model = checkpoints.load_model(source)
    scale = model.config.scale
    if scale != options.scale:
        raise InputError(f"{source}: is a model for x{scale}; pass --scale {scale}, or a model for x{options.scale}")
    return NetworkRunner(model, name, options)
