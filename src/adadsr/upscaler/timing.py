"""Seconds as a budget: how long this machine takes for a network, and the budget that fits a time.

A network's time is a sum over its parts: a constant, the pixels (head, adapter, tail), and the body's multiply-
accumulates, each of which has a different cost when every block runs everywhere. `seconds.json` in the cache folder
holds what `adadsr backends --measure` found (`measuring`).
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr import __version__, atomic
from adadsr.errors import BudgetError, InputError
from adadsr.machine import cache_folder, processor_name
from adadsr.upscaler.outlook import Outlook, Step
from adadsr.upscaler.report import Target

FILE_NAME = "seconds.json"
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
        after: The part of `pixel` that comes after the blocks.
    """

    fixed: float
    pixel: float
    sparse: float
    dense: float
    after: float

    def seconds(self, step: Step, budget: float) -> float:
        """Expected time of a step at a budget."""
        return float(terms(step, budget) @ np.array([self.fixed, self.pixel, self.sparse, self.dense]))


def terms(step: Step, budget: float) -> npt.NDArray[np.float64]:
    """What the time is a sum of, for a weight each of `TimeModel`."""
    body = step.cost(budget).body
    is_full = body >= step.dense.body
    pixels = step.dense.head / step.engine.network.head.macs(1, 1)
    return np.array([1.0, pixels, 0.0 if is_full else body, body if is_full else 0.0])


def key_of(step: Step) -> str:
    """What a time depends on apart from the image."""
    engine, network = step.engine, step.engine.network
    variant, threads = engine.variant.partition(",")[0], getattr(engine, "threads", 0)
    kind = f"{network.channels} channels, {network.n_groups}x{network.n_blocks} blocks, x{network.scale}"
    adapter = "adaptive" if step.is_adaptive else "dense"
    where = f"{processor_name()} | {engine.backend} {variant} | {threads} threads | {step.precision}"
    return f"{where} | {adapter}, {kind} | adadsr {__version__}"


def cache_file() -> Path:
    """File with the times of this machine."""
    return cache_folder() / FILE_NAME


def name() -> str:
    """What turns seconds into budgets here, for reports."""
    return f"{processor_name()}, measured ({cache_file().name})"


def known(step: Step) -> TimeModel | None:
    """The times of a network; None if this machine was not measured."""
    values = _read().get(key_of(step))
    names = [field.name for field in fields(TimeModel)]
    if not isinstance(values, dict) or set(values) != set(names):
        return None
    if not all(isinstance(value, float) and math.isfinite(value) and value >= 0 for value in values.values()):
        return None
    return TimeModel(**values)


def store(step: Step, model: TimeModel) -> None:
    """Keep the times of a network. Raises OSError."""
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(_read() | {key_of(step): asdict(model)}, indent=1, sort_keys=True))


def after(step: Step) -> float | None:
    """Seconds of a pixel of the input after the blocks; None if this machine was not measured."""
    model = known(step)
    return None if model is None else model.after


def with_budget(target: Target, outlook: Outlook) -> Target:
    """The same with a budget in place of seconds. Raises as `budget_for`."""
    return target if target.seconds is None else Target(budget=budget_for(outlook, target.seconds))


def budget_for(outlook: Outlook, seconds: float) -> float:
    """The largest budget at which an image takes at most `seconds`.

    Raises InputError if this machine was not measured, BudgetError if even the smallest budget takes longer.
    """
    models = [_required(step) for step in outlook.steps]

    def expected(budget: float) -> float:
        return sum(model.seconds(step, budget) for model, step in zip(models, outlook.steps, strict=True))

    if expected(1.0) <= seconds:
        return 1.0
    low = min(
        1.0, max(step.least_budget for step in outlook.steps if step.is_adaptive or not outlook.is_adaptive) + SLACK
    )
    if expected(low) > seconds:
        raise BudgetError(
            f"seconds={seconds:g} is too short: this image takes about {expected(low):.2g} s here at least; allow "
            "more, or choose a smaller size",
            low,
        )
    high = 1.0
    for _ in range(BUDGET_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) <= seconds else (low, middle)
    return low


def shares(outlook: Outlook, budget: float) -> list[float]:
    """Part of the time that is left for each network when its turn comes. Raises InputError as `budget_for`."""
    expected = [_required(step).seconds(step, budget) for step in outlook.steps]
    return [each / sum(expected[index:]) for index, each in enumerate(expected)]


def _required(step: Step) -> TimeModel:
    model = known(step)
    if model is None:
        raise InputError(
            f"seconds: {step.name} was not measured on this machine with these settings; run adadsr backends "
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
