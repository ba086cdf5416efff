"""Keeping to a time while a body runs: what is left runs where it gains most, as much of it as the time allows."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends import DepthMap
from adadsr.graph import Cost
from adadsr.graph.calibration import DepthFamily, split_equal

LOOKS = 8
"""Approximate number of times that a pacer checks the clock per tile."""
IGNORED = 0.05
"""Deviations up to this share of what is left change nothing."""
TRUST = 0.1
"""The expected speed counts as much as this share of the work, done at that speed."""
SHIFT_STEPS = 14
"""Bisection steps for a shift of the map."""


class Time(NamedTuple):
    """Of a run. end: when it should be done, by `time.perf_counter`. after: seconds of an LR pixel after the body."""

    end: float
    after: float


class Schedule:
    """Shares the time of a run between its tiles, which run in order."""

    def __init__(self, costs: Sequence[Cost], limit: Time) -> None:
        """costs: of the tiles, as planned."""
        self._costs, self._limit, self._start = deque(costs), limit, time.perf_counter()
        self._left, self._done = sum(cost.total for cost in costs), 0

    def seconds_of_body(self, pixels: int) -> tuple[float, float]:
        """Seconds that the next tile has until its body ends, and that it will take at the pace of the tiles before.

        pixels: of its core, in LR.
        """
        now, cost, after = time.perf_counter(), self._costs[0].total, self._limit.after * pixels
        seconds = (self._limit.end - now) * cost / self._left
        expected = (now - self._start) * cost / self._done if self._done else seconds
        return seconds - after, expected - after

    def finish_tile(self, body_macs: int) -> None:
        """The next tile has run. body_macs: that its body executed."""
        cost = self._costs.popleft()
        self._left -= cost.total
        self._done += cost.total - cost.body + body_macs


class Pacer:
    """Revises the depth map of one tile's window while its body runs; see `backends.Revise`.

    depth_map: the present one, (G, h, w). has_changed: whether it differs from the planned map.
    """

    def __init__(
        self,
        family: DepthFamily,
        window: Callable[[DepthMap], DepthMap],
        depth_map: DepthMap,
        seconds: float,
        expected: float,
    ) -> None:
        """family, window: the picture's maps, and a map of the picture to that of the window. depth_map: of the window,
        as planned. seconds: that the body may take from now on. expected: that it will take by this map.
        """
        self._family, self._window, self.depth_map = family, window, depth_map
        self.has_changed = False
        self._start = time.perf_counter()
        self._end, self._pause = self._start + seconds, max(seconds, 0.0) / LOOKS
        self._next = self._start + self._pause
        self._seconds, self._expected = max(seconds, 0.0), max(expected, 0.0)
        self._trusted = TRUST * float(depth_map.sum())
        self._trusted_seconds = TRUST * self._expected

    def begin(self) -> None:
        """Change the map before the body runs if that will not take the time that it may."""
        least = np.zeros((1, self.depth_map.shape[1], 1), np.float32)
        left = _left(self.depth_map, least)
        if self._expected:
            self._fit(least, left, left * self._seconds / self._expected)

    def __call__(self, begun: Sequence[int]) -> DepthMap | None:
        now = time.perf_counter()
        if now < self._next:
            return None
        self._next = now + self._pause
        least = _blocks_begun(begun, self.depth_map.shape[1])
        left = _left(self.depth_map, least)
        if left == 0:
            return None
        done = float(self.depth_map.sum()) - left
        pace = (now - self._start + self._trusted_seconds) / (done + self._trusted)
        return self._fit(least, left, max(self._end - now, 0.0) / pace)

    def _fit(self, least: npt.NDArray[np.float32], left: float, affordable: float) -> DepthMap | None:
        """Another map if not about `affordable` blocks are left."""
        if abs(affordable - left) <= IGNORED * left:
            return None
        self.depth_map, self.has_changed = self._fitted(least, affordable), True
        return self.depth_map

    def _fitted(self, least: npt.NDArray[np.float32], affordable: float) -> DepthMap:
        """The deepest map with at most `affordable` blocks left, of those that keep what has begun."""

        def cost(depth_map: DepthMap) -> float:
            return _left(depth_map, least)

        low, high = self._family.shift_bounds()
        shallow = self._revised(low, least)
        for _ in range(SHIFT_STEPS):
            if affordable - cost(shallow) <= IGNORED / 2 * affordable:
                return shallow
            middle = (low + high) / 2
            tried = self._revised(middle, least)
            if cost(tried) <= affordable:
                low, shallow = middle, tried
            else:
                high = middle
        return split_equal(shallow, self._revised(high, least), cost, affordable)  # flat: gains are equal

    def _revised(self, shift: float, least: npt.NDArray[np.float32]) -> DepthMap:
        """The map at a shift. Tiles that have dropped out stay as they are; others keep the blocks that have begun."""
        depths = np.ceil(self._window(self._family.depths(shift)))
        revised: DepthMap = np.where(self.depth_map > least, np.maximum(depths, least), self.depth_map)
        return revised


def _blocks_begun(begun: Sequence[int], rows: int) -> npt.NDArray[np.float32]:
    """How many blocks have begun in each row of tiles, (1, rows, 1). begun: in how many rows each block has."""
    count: npt.NDArray[np.float32] = (np.array(begun)[:, None] > np.arange(rows)).sum(axis=0, dtype=np.float32)
    return count[None, :, None]


def _left(depth_map: DepthMap, least: npt.NDArray[np.float32]) -> float:
    """Blocks of tiles that have not begun."""
    return float(np.maximum(depth_map - least, 0).sum())
