"""How deep pictures want to go at a least gain: learned from those that came, for those that still wait unread."""

import math
import threading

import numpy as np
import numpy.typing as npt

from adadsr.upscaler import Step

LEAST_GAINS = np.geomspace(1e-10, 1e3, 14).astype(np.float32)
"""In squared levels of Y, ascending."""
FIRST_SHARES = (1.0, 0.996, 0.916, 0.785, 0.653, 0.585, 0.533, 0.44, 0.34, 0.201, 0.09, 0.021, 0.001, 0.0)
"""Share of the blocks that gains as much: the mean of photos, as adaedsr-baseline-x2 predicts."""
NEWEST_WEIGHT = 0.1
"""Of the newest picture, in the average."""


class Demand:
    """An average that favours recent pictures. Threads may share it."""

    def __init__(self) -> None:
        self._shares = np.array(FIRST_SHARES)
        self._lock = threading.Lock()

    def share(self, least_gain: float) -> float:
        """Expected share of the blocks that run. Falls as `least_gain`, >= 0, grows."""
        if least_gain <= LEAST_GAINS[0]:
            return 1.0
        return float(np.interp(math.log(least_gain), np.log(LEAST_GAINS), self._shares, right=0.0))

    def budget(self, step: Step, least_gain: float) -> float:
        """Expected budget of a network."""
        return step.budget_at(self.share(least_gain))

    def learn(self, shares: npt.NDArray[np.float64]) -> None:
        """Count a picture. shares: of its blocks, at each of `LEAST_GAINS`."""
        with self._lock:
            self._shares = self._shares + NEWEST_WEIGHT * (shares - self._shares)
