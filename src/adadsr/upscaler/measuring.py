"""How long this machine takes for a network: what `adadsr backends --measure` does for `timing`."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr.images import Picture
from adadsr.upscaler import timing
from adadsr.upscaler.tiled_run import BODY_SHARE
from adadsr.upscaler.timing import SLACK, TimeModel
from adadsr.upscaler.upscaler import Upscaler

SIDES = (96, 192, 320)
"""Sides of the pictures that are measured, in LR pixels."""
BUDGETS = (0.3, 0.5, 0.75, 1.0)
"""Budgets that are measured; those below what a network costs without any block are raised to that."""
RUNS = 5


def measure(upscaler: Upscaler) -> TimeModel:
    """Measure a network on this machine, which should be idle, and store the result. Raises OSError."""
    rows, seconds, after = [], [], []
    for side in SIDES:
        picture = _sample(side)
        (step,) = upscaler.prepare(picture, score=False).outlook.steps
        for budget in BUDGETS if step.is_adaptive else (1.0,):
            spent = min(1.0, max(budget, step.least_budget + SLACK))
            rows.append(timing.terms(step, spent))
            seconds.append(_seconds(partial(upscaler, picture, budget=spent)))
        after += [_seconds_after(upscaler, picture) / side**2 for _ in range(RUNS)]
    fixed, pixel, sparse, dense = _fit(np.array(rows), np.array(seconds))
    model = TimeModel(fixed, pixel, sparse, dense, statistics.median(after))
    timing.store(step, model)
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


def _seconds(run: Callable[[], Any]) -> float:
    """Median of a few runs, as they come: a minimum promises too much."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _seconds_after(upscaler: Upscaler, picture: Picture) -> float:
    """Of a run, from the end of its last block."""
    end: list[float] = []

    def progress(share: float) -> None:
        if share >= BODY_SHARE and not end:
            end.append(time.perf_counter())

    upscaler(picture, progress=progress)
    return time.perf_counter() - end[0]


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
