"""`Upscaler`: a model that upscales files, arrays, Pillow images and tensors."""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr import backends, checkpoints, forks, images
from adadsr.backends import Engine, to_numpy
from adadsr.errors import InputError
from adadsr.graph.calibration import ErrorCurve
from adadsr.graph.depth import expand_tiles
from adadsr.networks import Model
from adadsr.upscaler import timing
from adadsr.upscaler.execution import Execution
from adadsr.upscaler.memory import Layout, SharedMemory, lay_out_picture, shared_limit
from adadsr.upscaler.outlook import Outlook, Step
from adadsr.upscaler.pacing import Time
from adadsr.upscaler.plan import Plan
from adadsr.upscaler.report import Target
from adadsr.upscaler.reporting import report_of
from adadsr.upscaler.sources import Sink, Source, open_source
from adadsr.upscaler.tiled_run import Executed, TiledRun
from adadsr.upscaler.upscaled import Upscaled


class Upscaler:
    """A model on a backend. Threads may share one, and share its memory limit.

    Attributes:
        execution: How it runs.
        engine: The prepared network.
        config, name: The model's configuration, and its name in reports.
        memory: What its runs share.
    """

    def __init__(
        self,
        model: Model,
        execution: Execution | None = None,
        *,
        name: str = "",
        memory: SharedMemory | None = None,
    ) -> None:
        """Prepare a model to run.

        Args:
            model: The network, as `checkpoints.load` gives it.
            execution: How it runs; None for the defaults.
            name: Name in reports; the kind of network if empty.
            memory: Shared with other upscalers; None for its own.

        Raises:
            BackendError: The backend cannot run here, or cannot run this network.
            InputError: The device is not available.
        """
        self.execution = execution or Execution()
        self.config, self.name = model.config, name or model.config.kind
        self._weights = model.weights()
        self.engine = self._prepare(self.execution.precision)
        self.memory = memory or SharedMemory(shared_limit(self.engine, self.execution))
        self._full_precision: Engine | None = None
        self._lock = forks.Lock()

    def with_threads(self, threads: int) -> "Upscaler":
        """The same on another number of threads; weights and memory limit are shared."""
        other = copy.copy(self)
        other.execution = replace(self.execution, threads=threads)
        other.engine = backends.with_threads(self.engine, threads)
        other._full_precision, other._lock = None, forks.Lock()
        return other

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], execution: Execution | None = None) -> "Upscaler":
        """Prepare a model by its name.

        Args:
            source: A bundled name such as `adaedsr-baseline-x2`, a checkpoint file, or a Hugging Face id.
            execution: See the constructor.

        Raises:
            CheckpointError: The model does not exist, or its file is corrupt.
            BackendError, InputError: As for the constructor.
        """
        return cls(checkpoints.load_model(source), execution, name=checkpoints.model_name(source))

    @property
    def scale(self) -> int:
        """Scale factor of width and height."""
        return self.config.scale

    def layout(self, height: int, width: int, held: int) -> Layout:
        """How an image of this size is cut. held: see `Source.held_bytes`. Raises InputError if it does not fit."""
        return lay_out_picture(self.engine, height, width, held, self.execution)

    def step(self, layout: Layout, *, has_alpha: bool = False) -> Step:
        """What an image that is cut like this will take."""
        return Step(self.engine, self.name, self.execution.precision, layout, has_alpha)

    def prepare(
        self,
        image: Any,
        *,
        score: bool = True,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
        accept_damaged: bool = False,
        page: int | None = None,
    ) -> "Prepared":
        """Read an image, and run head and adapter on it.

        Args:
            image: A path, the bytes of a file, an open binary file, a `Picture`, a Pillow image, an array (H, W) or
                (H, W, 1..4) of uint8, uint16 or floating point in 0..1, a floating-point torch tensor (3, H, W) or
                (1, 3, H, W) in 0..255, or a `Source` of your own.
            score: Run head and adapter now rather than with the first plan that needs them. Makes no difference if the
                network has no adapter, or one that runs again for every desired depth.
            max_pixels: Limit on the pixels of an image file.
            accept_damaged: Take what can be decoded of a damaged file; `result.picture.damage` says what is wrong.
            page: Of a file with several pages or frames, from 1.

        Raises:
            ImageFileError: A file cannot be read.
            InputError: The image is of another kind, contains NaN or infinity, or does not fit into the memory limit.
        """
        prepared = Prepared(self, open_source(image, max_pixels, accept_damaged=accept_damaged, page=page))
        if score:
            prepared.score()
        return prepared

    def __call__(
        self,
        image: Any,
        *,
        depth: float | None = None,
        budget: float | None = None,
        max_loss: float | None = None,
        seconds: float | None = None,
        least_gain: float | None = None,
        depth_map: npt.NDArray[Any] | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
        accept_damaged: bool = False,
        page: int | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Upscale one image: prepare, plan and run. Full depth is the default.

        Args:
            image: See `prepare`.
            depth: See `Prepared.plan`, also for `budget`, `max_loss`, `seconds`, `least_gain` and `depth_map`.
            max_pixels: See `prepare`, also for `accept_damaged` and `page`.
            progress: See `Prepared.run`.

        Raises:
            ImageFileError, InputError: See `prepare` and `Prepared.plan`.
        """
        target = Target(depth, budget, max_loss, seconds, least_gain)
        target.check(self._weights, self.name)  # before a large file is read
        source, start = open_source(image, max_pixels, accept_damaged=accept_damaged, page=page), time.perf_counter()
        prepared = Prepared(self, source)
        result = prepared.run(prepared.plan(**vars(target), depth_map=depth_map), progress=progress)
        return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))

    def full_precision(self) -> Engine:
        """The engine in float32, for tiles that overflow in half precision; made on first use."""
        with self._lock:
            if self._full_precision is None:
                self._full_precision = self._prepare("float32")
            return self._full_precision

    def _prepare(self, precision: str) -> Engine:
        execution = self.execution
        return backends.prepare(self._weights, execution.backend, execution.device, precision, execution.threads)


class Prepared:
    """An image ready to run at any budget; further budgets reuse head and adapter. Made by `Upscaler.prepare`.

    Attributes:
        size: (width, height) of the image.
    """

    def __init__(self, upscaler: Upscaler, source: Source) -> None:
        start = time.perf_counter()
        self._upscaler, self._source = upscaler, source
        lr = source.lr()
        if not np.isfinite(to_numpy(lr)).all():
            raise InputError("image contains NaN or infinity; values must be finite and in 0..255")
        height, width = int(lr.shape[0]), int(lr.shape[1])
        self.size = width, height
        layout = upscaler.layout(height, width, source.held_bytes(upscaler.scale))
        run = partial(TiledRun, upscaler.engine, upscaler.full_precision, layout=layout, memory=upscaler.memory)
        alpha = source.alpha()
        self._color, self._alpha = run(lr=lr), None if alpha is None else run(lr=alpha)
        self._spent = time.perf_counter() - start

    @property
    def layout(self) -> Layout:
        """How the image is cut, and the bytes of a run."""
        return self._color.layout

    @property
    def outlook(self) -> Outlook:
        """What a run will take, at any budget."""
        width, height = (side * self._upscaler.scale for side in self.size)
        steps = (self._upscaler.step(self.layout, has_alpha=self._alpha is not None),)
        return Outlook(steps, height, width, self.layout.bytes)

    def curve(self, least_gains: npt.NDArray[np.float32]) -> ErrorCurve | None:
        """Cost and error at each of these, ascending; None if the network does not predict errors."""
        return self._color.curve(least_gains)

    def score(self) -> None:
        """Run head and adapter now rather than with the first plan; see `Upscaler.prepare`."""
        start, adapter = time.perf_counter(), self._color.network.adapter
        if adapter is not None and not adapter.uses_depth:
            for each in (self._color, self._alpha):
                if each is not None:
                    each.family(0.0)
        self._spent += time.perf_counter() - start

    def plan(
        self,
        *,
        budget: float | None = None,
        depth: float | None = None,
        max_loss: float | None = None,
        seconds: float | None = None,
        least_gain: float | None = None,
        depth_map: npt.NDArray[Any] | None = None,
    ) -> Plan:
        """What a run would do and cost. No conv of the body runs.

        Args:
            budget: Fraction of the dense network's multiply-accumulates, in (0, 1].
            depth: Desired mean depth instead of a budget, 0..n_resblocks, in blocks.
            max_loss: The least cost at which the adapter predicts at most this loss of PSNR against full depth, in dB.
            seconds: The largest budget at which this image should take at most this time on this machine.
            least_gain: Blocks run where the adapter predicts that they lower the squared error in Y by at least this,
                in squared levels of 0..255.
            depth_map: Instead of all these, the depth of each position, (n_groups, ceil(H/t), ceil(W/t)) in blocks,
                where t is the network's `depth_tile`; transparency takes it too. By default all blocks run everywhere.

        Raises:
            InputError: More than one is given, the network does not support it, the budget is below the cost of this
                image without any block, or the machine was not measured.
        """
        target = Target(depth, budget, max_loss, seconds, least_gain)
        if depth_map is not None and target != Target():
            raise InputError(f"depth_map with one of {', '.join(vars(target))}: pass only one of them")
        spent = timing.with_budget(target, self.outlook)
        if seconds is None:
            return self._planned(target, spent, depth_map)
        return replace(self.within(spent.budget or 1.0, seconds), target=target)

    def within(self, budget: float, seconds: float) -> Plan:
        """The plan of a budget whose run keeps to what is left of `seconds`, in which the image is prepared and run."""
        target = Target(budget=budget)
        if not target.is_full(self._color.network.n_blocks):
            self.score()
        start = time.perf_counter()
        plan = self._planned(target, target)
        return replace(plan, seconds=seconds - self._spent - (time.perf_counter() - start))

    def _planned(self, target: Target, spent: Target, depth_map: npt.NDArray[Any] | None = None) -> Plan:
        """The plan for `spent`, for those who asked for `target`."""
        spent.check(self._color.network, self._upscaler.name)
        plan = replace(self._color.plan(spent, depth_map), target=target)
        return plan if self._alpha is None else replace(plan, alpha=self._alpha.plan(spent, depth_map))

    def run(self, plan: Plan, *, progress: Callable[[float], None] = lambda share: None) -> Upscaled:
        """Run body and tail.

        Args:
            plan: A plan of this image.
            progress: Called with the fraction that is done, in [0, 1].

        Raises:
            InputError: The plan is for an image of another size or transparency, or for another network.
        """
        is_alike = plan.layout == self._color.layout and (plan.alpha is None) == (self._alpha is None)
        if not is_alike or plan.network is not self._color.network:
            raise InputError("the plan is for another size, transparency or network; make one for this image")
        start, sink = time.perf_counter(), self._source.sink(self._upscaler.scale)
        executed = self._run_both(plan, sink, progress, start)
        if executed.depth_map is not None:  # the machine was slower or faster than expected
            plan = self._color.changed(plan, executed.depth_map)
        step, seconds = self._upscaler.step(self.layout), time.perf_counter() - start
        report = report_of(step, self._upscaler.execution, self.size, plan, executed, seconds)
        return Upscaled(sink.image(), self._pixel_depths(plan), report, sink.picture())

    def _run_both(self, plan: Plan, sink: Sink, progress: Callable[[float], None], start: float) -> Executed:
        """Transparency if there is any, then colour."""
        after = None if plan.seconds is None else timing.after(self.outlook.steps[0])

        def limit(share: float) -> Time | None:
            return None if plan.seconds is None or after is None else Time(start + share * plan.seconds, after)

        if self._alpha is None or plan.alpha is None:
            return self._color.run(plan, sink.write, progress, limit(1.0))
        alpha = self._alpha.run(plan.alpha, sink.write_alpha, lambda share: progress(share / 2), limit(0.5))
        color = self._color.run(plan, sink.write, lambda share: progress((1 + share) / 2), limit(1.0))
        return color._replace(
            in_precision=alpha.in_precision and color.in_precision, body_macs=alpha.body_macs + color.body_macs
        )

    def _pixel_depths(self, plan: Plan) -> npt.NDArray[np.float32]:
        network, (width, height) = self._color.network, self.size
        if plan.depth_map is None:
            return np.full((network.n_groups, height, width), network.n_blocks, np.float32)
        depths = expand_tiles(plan.depth_map, network.depth_tile * network.square, height, width)
        return np.ascontiguousarray(depths.clip(0, network.n_blocks), np.float32)
