"""From an adapter's scores to depths: the map of a mean depth, and the deepest map of a cost.

Scores are (N, G, h, w), any real number. Adding one positive shift to all scores never lowers a depth, so the shifts
form a family of maps with one for every cost.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.graph.depth import DepthMap
from adadsr.graph.ops import Array
from adadsr.graph.parts import AdapterWeights

Scores: TypeAlias = npt.NDArray[np.float32]

COST_STEPS = 40
"""Bisection steps for the shift; enough to reach the resolution of float32."""
DEPTH_STEPS = 30
"""The same for a mean depth."""
TOLERANCE = 0.002
"""If the best common shift leaves more than this share of the dense cost unspent, equal scores are split."""
STRETCH = 0.1
"""How far the sigmoid extends beyond [0, 1] before it is clipped, so that 0 and full depth occur."""
SATURATION = 3.0
"""Score at which the stretched sigmoid is clipped: log((1 + STRETCH) / STRETCH), rounded up."""


class DepthFamily(Protocol):
    """How scores become depths. n_blocks: blocks per group."""

    n_blocks: int

    def depths(self, scores: Scores, shift: float | Scores = 0.0) -> Scores:
        """Depths of scores raised by `shift`; the same shape, in blocks, >= 0, non-decreasing in `shift`."""

    def shift_bounds(self, scores: Scores) -> tuple[float, float]:
        """A shift at which every depth is 0, and one at which every depth is at least `n_blocks`."""

    def at_depth(self, scores: Scores, desired_depth: float) -> Scores:
        """The adapter's map for its scores at a desired depth, in blocks."""


def family_of(adapter: AdapterWeights, n_blocks: int) -> DepthFamily:
    """How the scores of an adapter become depths."""
    return TileDepths(n_blocks) if adapter.tile > 1 else PixelDepths(n_blocks)


class PixelDepths:
    """Depths as published (arXiv:2004.03915, eq. 5): ReLU of the scores, without an upper bound."""

    def __init__(self, n_blocks: int) -> None:
        self.n_blocks = n_blocks

    def depths(self, scores: Scores, shift: float | Scores = 0.0) -> Scores:
        depths: Scores = np.maximum(scores + np.float32(shift), np.float32(0))
        return depths

    def shift_bounds(self, scores: Scores) -> tuple[float, float]:
        # One block of slack: a shift that barely reaches the bound could be lost to rounding.
        return -float(scores.max()) - 1, self.n_blocks - float(scores.min()) + 1

    def at_depth(self, scores: Scores, desired_depth: float) -> Scores:
        return self.depths(scores)


class TileDepths:
    """Depths in 0 .. n_blocks by a stretched sigmoid; their mean over an image is the desired depth exactly."""

    def __init__(self, n_blocks: int) -> None:
        self.n_blocks = n_blocks

    def depths(self, scores: Scores, shift: float | Scores = 0.0) -> Scores:
        depths: Scores = self.stretched(sigmoid(scores + np.float32(shift)))
        return depths

    def stretched(self, share: Array) -> Array:
        """Depths for values of the sigmoid, a numpy array or torch tensor."""
        return self.n_blocks * ((1 + 2 * STRETCH) * share - STRETCH).clip(0, 1)

    def shift_bounds(self, scores: Scores) -> tuple[float, float]:
        return -float(scores.max()) - SATURATION, SATURATION - float(scores.min())

    def at_depth(self, scores: Scores, desired_depth: float) -> Scores:
        return np.stack([self.depths(image, self._shift_for(image, desired_depth)) for image in scores])

    def _shift_for(self, scores: Scores, desired_depth: float) -> float:
        """Shift of one image, (G, h, w), at which its mean depth is the desired one, found by bisection."""
        low, high = self.shift_bounds(scores)
        for _ in range(DEPTH_STEPS):
            middle = (low + high) / 2
            if float(self.depths(scores, middle).mean(dtype=np.float64)) < desired_depth:
                low = middle
            else:
                high = middle
        return high


def sigmoid(x: Scores) -> Scores:
    """1 / (1 + exp(-x)) in the type of x."""
    with np.errstate(over="ignore"):  # if exp overflows, the result is 0
        return np.asarray(1 / (1 + np.exp(-x)), x.dtype)


def fit_cost(
    family: DepthFamily, scores: Scores, cost: Callable[[DepthMap], float], target: float, tolerance: float = TOLERANCE
) -> Scores:
    """The deepest map of whole blocks for the scores of one image, (G, h, w), that costs at most `target`.

    cost: non-decreasing in the depths. A map of zeros must cost at most `target`. If many scores are equal, as in flat
    images, the cost jumps by more than `tolerance` at one shift; then some of them, in raster order, go deeper. Depths
    are rounded up, since a gate of 1 at the last block costs no more than a fractional one.
    """

    def depth_at(shift: float) -> Scores:
        return np.ceil(family.depths(scores, shift))

    low, high = family.shift_bounds(scores)
    if cost(depth_at(high)) <= target:
        return depth_at(high)
    for _ in range(COST_STEPS):
        middle = (low + high) / 2
        if cost(depth_at(middle)) <= target:
            low = middle
        else:
            high = middle
    depth_map = depth_at(low)
    if target - cost(depth_map) <= tolerance:
        return depth_map
    return _split_equal(depth_map, depth_at(high), cost, target)


def _split_equal(shallow: Scores, deep: Scores, cost: Callable[[DepthMap], float], target: float) -> Scores:
    """`deep` at the first positions in raster order and `shallow` at the others, as many as `target` allows.

    A run of rows has the shortest border, and a dilated active set pays for its border.
    """
    order = np.arange(shallow[0].size).reshape(shallow.shape[-2:])
    low, high = 0, order.size
    while high - low > 1:
        middle = (low + high) // 2
        if cost(np.where(order < middle, deep, shallow)) <= target:
            low = middle
        else:
            high = middle
    return np.where(order < low, deep, shallow)
