"""Sketches of all images -> the least gain of each."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adadsr.cluster.calibration import Samples
from adadsr.errors import BudgetError, InputError
from adadsr.upscaler import Target

GRID = np.geomspace(1e-6, 1e4, 41).astype(np.float32)
"""Least gains at which images are sketched, in squared levels of Y; between them the logarithm counts."""
USED = 0.95
"""Share of the hours that is planned with; the rest is for what goes wrong."""
REFERENCE = 0.5
"""Budget at which parts of images are measured, unless another one is asked for."""
_CHUNK = 10_000


@dataclass(frozen=True)
class Decision:
    """What all images of a collection get.

    Attributes:
        least_gain: See `Target`; 0 is full depth. That of an image is divided by the factor of its predictions.
        budget: What it is expected to cost, as a share of full depth.
        predicted_loss: PSNR of the mean squared error of all images against full depth, in dB; None if the network
            predicts no losses.
        equal_loss: The same if each image had this budget; None unless a budget was asked for, too.
        images: Number of sketches behind it.
        paces: Numbers of units, and the least gain from each on: how a run with a time limit revised it.
    """

    least_gain: float
    budget: float
    predicted_loss: float | None
    equal_loss: float | None
    images: int
    paces: Sequence[Sequence[float]] = ()

    def least_gain_of(self, unit: int) -> float:
        """The least gain of a unit of the run that revises it."""
        return next((gain for first, gain in reversed(self.paces) if unit >= first), self.least_gain)

    def revised(self, first: int, least_gain: float) -> "Decision":
        """With another least gain from a unit on."""
        return replace(self, paces=(*self.paces, (first, least_gain)))

    def continued(self) -> "Decision":
        """For a later run, whose units have other numbers."""
        return replace(self, least_gain=self.paces[-1][1], paces=()) if self.paces else self

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Sketches:
    """All sketches together."""

    def __init__(self, reference: float = REFERENCE) -> None:
        """reference: budget at which parts were measured."""
        self._reference = reference
        self._names: dict[str, int] = {}
        self._curves: list[npt.NDArray[np.float32]] = []
        self._facts: list[npt.NDArray[np.float64]] = []
        self._speeds: list[float] = []
        self._settled: _Settled | None = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, rows: pa.Table) -> None:
        """Count the sketches of a unit."""
        if not rows.num_rows:
            return
        self._settled = None
        self._names |= {name: len(self._names) + at for at, name in enumerate(rows["name"].to_pylist())}
        curves = [rows[name].to_pylist() for name in ("macs", "lost")]
        self._curves.append(np.array(curves, np.float32).transpose(1, 0, 2))
        self._facts.append(np.array([rows[name].to_pylist() for name in _Settled.FACTS], np.float64).T)
        self._speeds += [speed for speed in rows["macs_per_second"].to_pylist() if speed]

    def macs(self, name: str, least_gain: float) -> float | None:
        """Expected cost of an image; None if there is no sketch of it. least_gain: its own."""
        index = self._names.get(name)
        return None if index is None else value_at(self._settle().curves[index, 0], least_gain)

    @property
    def factors(self) -> dict[str, float]:
        """What the least gain of all is divided by for each image."""
        return {name: float(self._settle().factors[index]) for name, index in self._names.items()}

    @property
    def macs_per_second(self) -> float:
        """Of one worker. Raises InputError if none could measure it."""
        if not self._speeds:
            raise InputError("hours: no worker could measure its speed; pass --budget")
        return float(np.mean(self._speeds))

    def unit_curves(self, units: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
        """What images of these names cost together at each of `GRID`, (U, 41); those without a sketch cost nothing."""
        sums, curves = self._settle(), np.zeros((len(units), len(GRID)))
        for at, names in enumerate(units):
            known = [self._names[name] for name in names if name in self._names]
            if known:
                curves[at] = _shifted(sums.curves[known, 0], sums.factors[known]).sum(0)
        return curves

    def for_target(self, target: Target) -> Decision:
        """What a budget or a loss of the whole collection means. Raises InputError if it is too small."""
        sums = self._settle()
        if target.max_loss is not None:
            most = sums.full * (10 ** (target.max_loss / 10) - 1)
            return self._decision(_last_below(sums.lost, most), None)
        assert target.budget is not None
        return self._for_macs(target.budget * sums.dense, target.budget)

    def for_hours(self, hours: float, workers: int, spent: float = 0.0) -> Decision:
        """What fits into a time on this number of workers. Raises InputError if not even the least does.

        spent: seconds of it that nothing is upscaled in: start, first pass, and start of the actors.
        """
        sums, speed = self._settle(), self.macs_per_second
        seconds = max(0.0, hours * 3600 - spent) * workers * USED
        if sums.macs[-1] > seconds * speed:
            needed = spent + sums.macs[-1] / speed / workers / USED
            raise InputError(
                f"hours={hours:.3g} are too few for {workers} workers: with the {spent:.0f} s of start and first pass, "
                f"a run without any block takes {needed / 3600:.3g}; allow more, or add workers"
            )
        return self._for_macs(seconds * speed, None)

    def _settle(self) -> "_Settled":
        if not self._names:
            raise InputError("no image of the collection can be read; see the manifest")
        if self._settled is None:
            self._curves, self._facts = [np.concatenate(self._curves)], [np.concatenate(self._facts)]
            self._settled = _Settled(self._curves[0], self._facts[0], self._reference)
        return self._settled

    def _for_macs(self, most: float, budget: float | None) -> Decision:
        sums = self._settle()
        if most < sums.macs[-1]:
            least = sums.macs[-1] / sums.dense
            raise BudgetError(
                f"budget={most / sums.dense:g} is too small: everything but the residual blocks costs {least:.4f} of "
                f"the full network on this collection; use at least {least + 5e-4:.3f}",
                least,
            )
        if most >= sums.dense:
            return self._decision(0.0, budget)
        return self._decision(gain_at(sums.macs, most), budget)

    def _decision(self, least_gain: float, budget: float | None) -> Decision:
        sums = self._settle()
        spent = 1.0 if least_gain == 0 else min(1.0, value_at(sums.macs, least_gain) / sums.dense)
        equal = None if budget is None else sums.loss(sums.equal_lost(budget))
        return Decision(least_gain, spent, sums.loss(value_at(sums.lost, least_gain)), equal, len(self))


class _Settled:
    """Sums over the sketches of all images, whose gains were multiplied with their factors.

    Attributes:
        curves: macs and lost of each image at each of `GRID`, (N, 2, 41).
        factors: (N,).
        macs, lost: At each of `GRID`.
        full, dense: Predicted error and cost at full depth; full is NaN if the network predicts no losses.
    """

    FACTS = "full_error", "dense_macs", "pixels", "texture", "parts", "change"

    def __init__(self, curves: npt.NDArray[np.float32], facts: npt.NDArray[np.float64], reference: float) -> None:
        full, self._dense, pixels, texture, parts, change = facts.T
        self.curves = curves
        predicted = self._lost_at(reference) / pixels
        self.factors = Samples(texture, parts, change, predicted, pixels).factors()
        self.full, self.dense = float(full.sum()), float(self._dense.sum())
        self.macs, self.lost = np.zeros(len(GRID)), np.zeros(len(GRID))
        for start in range(0, len(curves), _CHUNK):
            macs, lost = curves[start : start + _CHUNK].transpose(1, 0, 2)
            factors = self.factors[start : start + _CHUNK]
            self.macs += _shifted(macs, factors).sum(0)
            self.lost += (_shifted(lost, factors) * factors[:, None]).sum(0)

    def equal_lost(self, budget: float) -> float:
        """Error that is lost if each image has this budget."""
        return float((self._lost_at(budget) * self.factors).sum())

    def loss(self, lost: float) -> float | None:
        """The same as PSNR, in dB; None if the network predicts no losses."""
        if math.isnan(self.full):
            return None
        return 10 * math.log10(1 + lost / self.full) if self.full else 0.0

    def _lost_at(self, budget: float) -> npt.NDArray[np.float64]:
        """Predicted error that each image loses at a budget, (N,)."""
        macs, lost = self.curves[:, 0], self.curves[:, 1]
        most = np.maximum(budget * self._dense, macs[:, -1])[:, None]
        at = np.argmax(macs <= most, axis=1)[:, None].clip(1)
        (fewer, more), (worse, better) = (
            [np.take_along_axis(each, index, 1).astype(np.float64) for index in (at, at - 1)] for each in (macs, lost)
        )
        part = ((more - most) / np.maximum(more - fewer, 1)).clip(0, 1)
        return np.asarray((better + (worse - better) * part)[:, 0])


def _shifted(curves: npt.NDArray[np.float32], factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Curves over `GRID`, (N, 41), at GRID / factor."""
    steps = (len(GRID) - 1) / math.log(GRID[-1] / GRID[0])
    at = (np.arange(len(GRID)) - np.log(factors)[:, None] * steps).clip(0, len(GRID) - 1)
    low = np.floor(at).astype(np.intp).clip(0, len(GRID) - 2)
    below, above = (np.take_along_axis(curves, index, 1).astype(np.float64) for index in (low, low + 1))
    return np.asarray(below + (above - below) * (at - low))


def gain_at(macs: npt.NDArray[Any], most: float) -> float:
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


def value_at(values: npt.NDArray[Any], least_gain: float) -> float:
    """A curve at a least gain."""
    if least_gain <= GRID[0]:
        return float(values[0])
    return float(np.interp(math.log(least_gain), np.log(GRID), values))
