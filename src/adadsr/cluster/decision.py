"""Sketches of all images -> the least gain that they share."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adadsr.errors import BudgetError, InputError
from adadsr.upscaler import Target

GRID = np.geomspace(1e-6, 1e4, 41).astype(np.float32)
"""Least gains at which images are sketched, in squared levels of Y; between them the logarithm counts."""
USED = 0.9
"""Share of the hours that is planned with; the rest is for start, end and what goes wrong."""


@dataclass(frozen=True)
class Decision:
    """What all images of a collection get.

    Attributes:
        least_gain: See `Target`; 0 is full depth.
        budget: What it is expected to cost, as a share of full depth.
        predicted_loss: PSNR of the mean squared error of all images against full depth, in dB.
        equal_loss: The same if each image had this budget; None unless a budget was asked for.
        images: Number of sketches behind it.
    """

    least_gain: float
    budget: float
    predicted_loss: float
    equal_loss: float | None
    images: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Sketches:
    """All sketches together: sums, and the cost of each image."""

    def __init__(self) -> None:
        self._macs, self._lost = np.zeros(len(GRID)), np.zeros(len(GRID))
        self._full, self._dense = 0.0, 0.0
        self._speeds: list[float] = []
        self.costs: dict[str, npt.NDArray[np.float32]] = {}
        self._equal: dict[float, float] = {}

    def add(self, rows: pa.Table, budget: float | None = None) -> None:
        """Count the sketches of a unit. budget: of each image, for comparison."""
        for row in rows.to_pylist():
            macs, lost = np.array(row["macs"]), np.array(row["lost"])
            self.costs[row["name"]] = macs.astype(np.float32)
            self._macs += macs
            self._lost += lost
            self._full += row["full_error"]
            self._dense += row["dense_macs"]
            if row["macs_per_second"]:
                self._speeds.append(row["macs_per_second"])
            if budget is not None:
                own = _gain_at(macs, max(budget * row["dense_macs"], macs[-1]))
                self._equal[budget] = self._equal.get(budget, 0.0) + _value_at(lost, own)

    def macs(self, name: str, least_gain: float) -> float:
        """Expected cost of an image."""
        return _value_at(self.costs[name], least_gain)

    def for_target(self, target: Target) -> Decision:
        """What a budget or a loss of the whole collection means. Raises InputError if it is too small."""
        self._check()
        if target.max_loss is not None:
            most = self._full * (10 ** (target.max_loss / 10) - 1)
            return self._decision(_last_below(self._lost, most), None)
        assert target.budget is not None
        return self._for_macs(target.budget * self._dense, target.budget)

    def for_hours(self, hours: float, workers: int) -> Decision:
        """What fits into a time on so many workers. Raises InputError if not even the least does."""
        self._check()
        if not self._speeds:
            raise InputError("hours: no worker could measure its speed; pass --budget")
        speed = float(np.mean(self._speeds))
        seconds = max(0.0, hours) * 3600 * workers * USED
        if self._macs[-1] > seconds * speed:
            needed = self._macs[-1] / speed / workers / USED / 3600
            raise InputError(
                f"hours={hours:.3g} are too few for {workers} workers: without any block it takes {needed:.3g}; allow "
                "more, or add workers"
            )
        return self._for_macs(seconds * speed, None)

    def _check(self) -> None:
        if not self.costs:
            raise InputError("no image of the collection can be read; see the manifest")

    def _for_macs(self, most: float, budget: float | None) -> Decision:
        if most < self._macs[-1]:
            least = self._macs[-1] / self._dense
            raise BudgetError(
                f"budget={most / self._dense:g} is too small: everything but the residual blocks costs {least:.4f} of "
                f"the full network on this collection; use at least {least + 5e-4:.3f}",
                least,
            )
        if most >= self._dense:
            return self._decision(0.0, budget)
        return self._decision(_gain_at(self._macs, most), budget)

    def _decision(self, least_gain: float, budget: float | None) -> Decision:
        equal = self._equal.get(budget) if budget is not None else None
        spent = 1.0 if least_gain == 0 else min(1.0, _value_at(self._macs, least_gain) / self._dense)
        return Decision(
            least_gain,
            spent,
            self._loss(_value_at(self._lost, least_gain)),
            None if equal is None else self._loss(equal),
            len(self.costs),
        )

    def _loss(self, lost: float) -> float:
        return 10 * math.log10(1 + lost / self._full) if self._full else 0.0


def _gain_at(macs: npt.NDArray[Any], most: float) -> float:
    """The smallest least gain at which a falling cost is at most `most`."""
    if macs[0] <= most:
        return float(GRID[0])
    at = int(np.argmax(macs <= most))
    part = (macs[at - 1] - most) / (macs[at - 1] - macs[at])
    return _between(at, float(part))


def _last_below(lost: npt.NDArray[Any], most: float) -> float:
    """The largest least gain at which a growing error is at most `most`; 0 if there is none."""
    if lost[-1] <= most:
        return float(GRID[-1])
    at = int(np.argmax(lost > most))
    if at == 0:
        return 0.0
    part = (most - lost[at - 1]) / (lost[at] - lost[at - 1])
    return _between(at, float(part))


def _between(at: int, part: float) -> float:
    """The least gain between two of `GRID`."""
    low, high = math.log(GRID[at - 1]), math.log(GRID[at])
    return math.exp(low + part * (high - low))


def _value_at(values: npt.NDArray[Any], least_gain: float) -> float:
    """A curve at a least gain."""
    if least_gain <= GRID[0]:
        return float(values[0])
    return float(np.interp(math.log(least_gain), np.log(GRID), values))
