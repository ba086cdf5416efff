"""A run with a time limit: its least gain follows the speed that finished units show.

The speed that the first pass measures is off by a quarter easily: loads change, and its small parts are not pictures.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from adadsr.cluster.decision import GRID, Decision, gain_at, value_at

END_SECONDS = 6.0
"""Of Python's start, before anything counts, and of the end: manifest, report, and Ray's shutdown."""
WEIGHT = 0.05
"""Share of a run's time for which the speed of the first pass counts beside that of finished units."""
REVISED = 0.02
"""Share of a run's time between two revisions."""


class Pace:
    """What finished units say about those that have not started.

    Units start in the order of their numbers. A revision counts from a number on that no worker has taken yet, so a
    unit has the same least gain at every try.
    """

    def __init__(
        self,
        decision: Decision,
        curves: npt.NDArray[np.float64],
        macs_per_second: float,
        seconds: float,
        ahead: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """seconds: from now to the end. macs_per_second: of all workers, by the first pass.

        curves: cost of each unit at each of `GRID`, (U, 41). ahead: the most units that are taken and not finished.
        """
        self.decision, self._curves, self._speed = decision, curves, macs_per_second
        self._left = np.flip(np.flip(curves, 0).cumsum(0), 0)  # of a unit and all after it
        self._seconds, self._ahead, self._clock = seconds, ahead, clock
        self._revised = clock()
        self._end = self._revised + seconds
        self._first: float | None = None
        self._done, self._macs = set[int](), 0.0

    def finished(self, units: Iterable[int], macs: float) -> Decision | None:
        """Count units and what they cost together. Returns the decision if it changes."""
        now = self._clock()
        self._done.update(units)
        if self._first is None:  # until then actors started, which says nothing about their speed
            self._first = now
            return None
        self._macs += macs
        start = len(self._done) + self._ahead
        if now < self._revised + REVISED * self._seconds or start >= len(self._curves):
            return None
        self._revised = now
        prior = WEIGHT * self._seconds
        speed = (self._macs + self._speed * prior) / (now - self._first + prior)
        taken = sum(
            value_at(self._curves[unit], self.decision.least_gain_of(unit))
            for unit in range(start)
            if unit not in self._done
        )
        self.decision = self.decision.revised(start, _gain(self._left[start], speed * (self._end - now) - taken))
        return self.decision


def _gain(left: npt.NDArray[np.float64], most: float) -> float:
    """The smallest least gain at which what is left costs at most `most`, or else the largest of `GRID`."""
    if most >= left[0]:
        return 0.0
    return float(GRID[-1]) if most <= left[-1] else gain_at(left, most)
