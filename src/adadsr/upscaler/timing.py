"""Seconds as a budget: how long this machine takes for a network, measured once, and the budget that fits a time.

A network's time is a sum over its parts: a constant, the pixels (head, adapter, tail), and the body's multiply-
accumulates, which take another time each where all blocks run everywhere. `seconds.json` in the cache folder holds what
`adadsr backends --measure` found.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr import __version__, atomic
from adadsr.errors import BudgetError, InputError
from adadsr.images import Picture
from adadsr.machine import cache_folder, processor_name
from adadsr.upscaler.chain import Chain, ChainPlan, PreparedChain
from adadsr.upscaler.outlook import Outlook, Step
from adadsr.upscaler.upscaled import Upscaled
from adadsr.upscaler.upscaler import Upscaler

FILE_NAME = "seconds.json"
SIDES = (96, 192, 320)
"""Sides of the pictures that are measured, in LR pixels."""
BUDGETS = (0.3, 0.5, 0.75, 1.0)
"""Budgets that are measured; those below what a network costs without any block are raised to that."""
RUNS = 3
BUDGET_STEPS = 30
"""Bisection steps for the budget."""
SLACK = 1e-3
"""Added to the smallest budget, which rounding must not miss."""


@dataclass(frozen=True)
class TimeModel:
    """Seconds of one network on one machine, from decoded input to decoded output.

    Attributes:
        fixed: Of every run.
        pixel: Of a pixel of the input, with its part of borders and overlaps.
        sparse, dense: Of a multiply-accumulate of the body below and at full depth.
    """

    fixed: float
    pixel: float
    sparse: float
    dense: float

    def seconds(self, step: Step, budget: float) -> float:
        """Expected time of a step at a budget."""
        return float(_features(step, budget) @ np.array([self.fixed, self.pixel, self.sparse, self.dense]))


def _features(step: Step, budget: float) -> npt.NDArray[np.float64]:
    """What the time is a sum of."""
    body = step.cost(budget).body
    is_full = body >= step.dense.body
    pixels = step.dense.head / step.upscaler.engine.network.head.macs(1, 1)
    return np.array([1.0, pixels, 0.0 if is_full else body, body if is_full else 0.0])


def key_of(upscaler: Upscaler) -> str:
    """What a time depends on apart from the image."""
    engine, network = upscaler.engine, upscaler.engine.network
    variant, threads = engine.variant.partition(",")[0], getattr(engine, "threads", 0)
    kind = f"{network.channels} channels, {network.n_groups}x{network.n_blocks} blocks, x{network.scale}"
    adapter = "adaptive" if network.adapter is not None else "dense"
    where = f"{processor_name()} | {engine.backend} {variant} | {threads} threads | {upscaler.execution.precision}"
    return f"{where} | {adapter}, {kind} | adadsr {__version__}"


def cache_file() -> Path:
    """File with the times of this machine."""
    return cache_folder() / FILE_NAME


def known(upscaler: Upscaler) -> TimeModel | None:
    """The times of a network; None if this machine was not measured."""
    values = _read().get(key_of(upscaler))
    names = [field.name for field in fields(TimeModel)]
    if not isinstance(values, dict) or set(values) != set(names):
        return None
    if not all(isinstance(value, float) and math.isfinite(value) and value >= 0 for value in values.values()):
        return None
    return TimeModel(**values)


def measure(upscaler: Upscaler) -> TimeModel:
    """Measure a network on this machine, which should be idle, and store the result. Raises OSError."""
    rows, seconds = [], []
    chain = Chain.of(upscaler)
    for side in SIDES:
        picture = _sample(side)
        outlook = Outlook.of(chain, side, side, channels=3)
        step = outlook.steps[0]
        least = step.least.total / step.dense.total + SLACK
        for budget in BUDGETS if step.is_adaptive else (1.0,):
            spent = min(1.0, max(budget, least))
            rows.append(_features(step, spent))
            seconds.append(_least_seconds(partial(upscaler, picture, budget=spent)))
    model = TimeModel(*_fit(np.array(rows), np.array(seconds)))
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(_read() | {key_of(upscaler): asdict(model)}, indent=1, sort_keys=True))
    return model


def _sample(side: int) -> Picture:
    """A picture of smooth and busy parts, so that depths differ as in a photo."""
    generator = np.random.default_rng(side)
    rows, columns = np.mgrid[:side, :side] / side
    smooth = 128 + 80 * np.sin(5 * rows + 3 * columns)
    busy = np.kron(generator.random((-(-side // 16), -(-side // 16))) > 0.5, np.ones((16, 16)))[:side, :side]
    noise = generator.integers(-60, 60, (side, side, 3))
    pixels = smooth[..., None] + busy[..., None] * noise
    return Picture(pixels.clip(0, 255).astype(np.uint8))


def _least_seconds(run: Callable[[], Any]) -> float:
    """Minimum over a few runs: other load only makes runs longer."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _fit(rows: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> list[float]:
    """Non-negative weights of the columns with the least squared relative error."""
    scale = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)
    used, weights = list(range(rows.shape[1])), np.zeros(rows.shape[1])
    while used:
        part = (rows / scale)[:, used] / seconds[:, None]
        found = np.linalg.lstsq(part, np.ones(len(seconds)), rcond=None)[0]
        if (found >= 0).all():
            weights[used] = found
            break
        del used[int(found.argmin())]
    return [float(weight) for weight in weights / scale]


def budget_for(outlook: Outlook, seconds: float) -> float:
    """The largest budget at which an image takes at most `seconds`.

    Raises InputError if this machine was not measured, BudgetError if even the smallest budget takes longer.
    """
    if not 0 < seconds < math.inf:
        raise InputError(f"seconds={seconds:g} must be a finite number above 0")
    models = [_required(step.upscaler) for step in outlook.steps]

    def expected(budget: float) -> float:
        return sum(model.seconds(step, budget) for model, step in zip(models, outlook.steps, strict=True))

    if expected(1.0) <= seconds:
        return 1.0
    low = max(step.least.total / step.dense.total for step in outlook.steps) + SLACK
    if not outlook.is_adaptive or expected(low) > seconds:
        least, takes = (low, expected(low)) if outlook.is_adaptive else (1.0, expected(1.0))
        raise BudgetError(
            f"seconds={seconds:g} is too short: this image takes about {takes:.2g} s here at least; allow more, or "
            "choose a smaller size",
            least,
        )
    high = 1.0
    for _ in range(BUDGET_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) <= seconds else (low, middle)
    return low


def _required(upscaler: Upscaler) -> TimeModel:
    model = known(upscaler)
    if model is None:
        raise InputError(
            f"seconds: {upscaler.name} was not measured on this machine with these settings; run adadsr backends "
            "--measure once, or pass a budget"
        )
    return model


def _read() -> dict[str, Any]:
    """The content of the file; empty if it cannot be read."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # the last if there is no home folder
        return {}
    return content if isinstance(content, dict) else {}


class TimedChain(Chain):
    """A chain that runs every picture at the budget that fits a time.

    Attributes:
        seconds: Of one picture, from decoded input to decoded output.
    """

    def __init__(self, chain: Chain, seconds: float) -> None:
        super().__init__(chain.upscaler, chain.scales, chain.size, linear_light=chain.linear_light)
        self.seconds = seconds

    def budget_of(self, picture: Picture) -> float:
        """The budget for a picture. Raises as `budget_for`."""
        outlook = Outlook.of(self, picture.height, picture.width, picture.pixels.shape[2], picture.bits)
        return budget_for(outlook, self.seconds)

    def prepare(self, picture: Picture) -> "PreparedChain":
        """As of `Chain`; plans without a target fit the time."""
        return _TimedPrepared(self, picture)


class _TimedPrepared(PreparedChain):
    """A picture whose plans fit the time if no other target is given."""

    def __init__(self, chain: TimedChain, picture: Picture) -> None:
        super().__init__(chain, picture)
        self._timed = chain

    def plan(
        self, *, budget: float | None = None, depth: float | None = None, max_loss: float | None = None
    ) -> ChainPlan:
        if budget is None and depth is None and max_loss is None:
            budget = self._timed.budget_of(self._picture)
        return super().plan(budget=budget, depth=depth, max_loss=max_loss)

    def run(self, plan: ChainPlan, *, progress: Callable[[float], None] = lambda share: None) -> Upscaled:
        return timed(super().run(plan, progress=progress), self._timed.seconds)


def timed(result: Upscaled, seconds: float) -> Upscaled:
    """The same with the requested time, and what it was turned into a budget by, in its report."""
    model = f"{processor_name()}, measured ({cache_file().name})"
    return replace(result, report=replace(result.report, requested_seconds=seconds, time_model=model))
