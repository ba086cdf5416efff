"""From an adapter's scores to depths: the map of a mean depth, of a cost, and of a predicted loss.

Every kind of adapter defines a family of maps that never lose depth as a shift grows, so each cost and each loss has
its map. Maps are (G, h, w), in blocks; scores are (K, h, w), any real number.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.graph.depth import DepthMap, dilate, mean_around
from adadsr.graph.network import NetworkWeights
from adadsr.graph.ops import Array

Scores: TypeAlias = npt.NDArray[np.float32]

SHIFT_STEPS = 32
"""Bisection steps for a shift; enough to reach the resolution of float32."""
TOLERANCE = 0.002
"""If the best common shift leaves more than this share of the dense cost unspent, equal scores are split."""
LARGEST_LOG = 20.0
"""Scores of the error at full depth are clipped to +-this, so that their exponential is finite."""
CURVE_SAMPLE = 65521
"""Gains that are enough to tell what an image costs and loses; a prime, so that steps do not keep to columns."""
LEAST_GAIN = 1e-20
"""Predicted gains are at least this, in squared levels, so that their logarithms are finite."""
FLAT_GAIN = 0.25
"""Squared levels. Tiles that gain less from all blocks together share one prediction: what they gain cannot be seen,
but a step between two depths in a flat area could be."""
COLOR_RANGE = 1.0
"""Levels. Tiles are of one colour if no sample of theirs and of the eight around differs by more."""
COLOR_ERROR = 0.01
"""Squared levels that are left of a tile of one colour at full depth."""
COLOR_GAIN = 1e-4
"""Squared levels that a tile of one colour gains from all blocks together: next to nothing, 0.04 dB."""
NEIGHBOUR_SHARE = 5 / 8
"""A tile runs at most this share of the blocks less than its deepest neighbour, which needs features from beyond its
border: the adapter's prediction for a tile assumes that the tiles around it run as deep."""
SMOOTHINGS = 3
"""How often each tile gains the mean over 3x3 tiles in networks with exits. Their blocks look far, and a border between
depths costs more than tiles of the wrong depth."""


class DepthFamily(Protocol):
    """The depth maps of one image."""

    def depths(self, shift: float) -> Scores:
        """The map at a shift, (G, h, w): >= 0, non-decreasing in `shift`."""

    def shift_bounds(self) -> tuple[float, float]:
        """A shift at which every depth is 0, and one at which every depth is full."""

    def at_depth(self, desired_depth: float) -> Scores:
        """The adapter's map at a desired depth, in blocks."""

    def predicted_loss(self, depth_map: DepthMap) -> float | None:
        """PSNR in dB that one of these maps loses against full depth; None if the adapter cannot tell."""


def family_of(network: NetworkWeights, scores: Scores) -> DepthFamily:
    """The maps of an image with these scores, (K, h, w). Raises InputError if the network has no adapter."""
    if network.require_adapter().predicts_errors:
        return ErrorDepths(scores, network.n_groups, has_exits=bool(network.body.exits))
    return PixelDepths(scores, network.n_blocks)


def keep_colors(network: NetworkWeights, scores: Scores, lr: Array) -> None:
    """Give tiles of one colour the same scores, in place, instead of what the adapter predicts for them.

    An adapter sees few such tiles in photos. Where its predictions for them differ, depths would, and a border between
    two depths is seen in a plain area. Scores of adapters that predict no errors stay. scores: (K, h, w). lr: the
    image, (H, W, 3 * square^2) in levels, as networks see it; the samples of a square are those of one colour next to
    each other.
    """
    if not network.require_adapter().predicts_errors:
        return
    depth_tile, (rows, columns) = network.depth_tile, scores.shape[1:]
    height, width = lr.shape[:2]
    squares = lr.reshape(height, width, 3, -1)
    missing = ((0, rows * depth_tile - height), (0, columns * depth_tile - width), (0, 0))

    def most(values: Array) -> Array:
        tiles = np.pad(values, missing, mode="edge").reshape(rows, depth_tile, columns, depth_tile, 3)
        return dilate(tiles.max(axis=(1, 3)).transpose(2, 0, 1))

    flat = (most(squares.max(axis=-1)) + most(-squares.min(axis=-1)) <= COLOR_RANGE).all(axis=0)
    scores[:, flat] = color_scores(len(scores) - 1)[:, None]


def color_scores(n_blocks: int) -> Scores:
    """Scores (B + 1,) of a tile of one colour: each block gains less than the one before, all of them `COLOR_GAIN`."""
    slope = COLOR_GAIN / COLOR_ERROR * 2 / (n_blocks * (n_blocks + 1))
    return np.array([math.log(COLOR_ERROR), *[math.log(math.expm1(slope))] * n_blocks], np.float32)


class PixelDepths:
    """Depths as published (arXiv:2004.03915, eq. 5): ReLU of the scores, without an upper bound."""

    def __init__(self, scores: Scores, n_blocks: int) -> None:
        """scores: (G, h, w), the depths themselves."""
        self._scores, self._n_blocks = scores, n_blocks

    def depths(self, shift: float) -> Scores:
        depths: Scores = np.maximum(self._scores + np.float32(shift), np.float32(0))
        return depths

    def shift_bounds(self) -> tuple[float, float]:
        # One block of slack: a shift that barely reaches the bound could be lost to rounding.
        return -float(self._scores.max()) - 1, self._n_blocks - float(self._scores.min()) + 1

    def at_depth(self, desired_depth: float) -> Scores:
        return self.depths(0.0)

    def predicted_loss(self, depth_map: DepthMap) -> None:
        return None


class ErrorCurve(NamedTuple):
    """What an image costs and loses at several least gains.

    shares: of the blocks that run. lost: error that the others would have removed; full: that of full depth, None if
    the network predicts no losses. Both are sums over tiles of the mean squared error in Y, in squared levels.
    """

    shares: npt.NDArray[np.float64]
    lost: npt.NDArray[np.float64]
    full: float | None


class ErrorDepths:
    """Depths of least predicted error at their cost, for adapters that predict what depth is worth.

    The error of a tile is the mean over its SR pixels of the squared difference in Y, in levels of 0..255. With scores
    r_0 .. r_B, what is left of it after d blocks is

        e_d = exp(r_0) * (1 + sum over k > d of (k - d) * softplus(r_k)),

    a sum of hinges with non-negative weights: it falls with d, and each block gains at most as much as the one before.
    So the map that minimises error + lambda * cost runs the blocks that gain at least lambda; the shift is -log lambda.
    Then tiles are raised to within `NEIGHBOUR_SHARE` of their deepest neighbour.
    """

    def __init__(self, scores: Scores, n_groups: int, *, has_exits: bool = False) -> None:
        """scores: (B + 1, h, w). n_groups: G; all groups get the same depth.

        has_exits: of a network with exits: tiles gain means over those around them (`SMOOTHINGS`), and maps have no
        predicted loss (`NetworkWeights.predicts_losses`).
        """
        self._n_groups, self._has_exits = n_groups, has_exits
        full = np.exp(scores[:1].clip(-LARGEST_LOG, LARGEST_LOG))
        self._full_error = float(full.sum(dtype=np.float64))
        slopes = np.logaddexp(scores[1:], np.float32(0))  # softplus
        self._gains: Scores = np.maximum(full * slopes[::-1].cumsum(0)[::-1], np.float32(LEAST_GAIN))
        self._unspent = np.concatenate([self._gains[::-1].cumsum(0)[::-1], np.zeros_like(full)])
        for _ in range(SMOOTHINGS if has_exits else 0):
            self._gains = mean_around(self._gains)
        flat = self._unspent[0] < FLAT_GAIN
        if flat.any():
            self._gains[:, flat] = self._gains[:, flat].mean(axis=1, keepdims=True)
        # Block k runs where block k + n does next to it, as if it gained as much.
        if 0 < (n := neighbour_blocks(len(self._gains))) < len(self._gains):
            np.maximum(self._gains[:-n], dilate(self._gains[n:]), out=self._gains[:-n])

    def depths(self, shift: float) -> Scores:
        gains = self._gains >= np.float32(math.exp(-shift))
        narrow = np.uint8 if len(gains) < 256 else np.intp  # several times as fast as summing booleans
        deep = np.add.reduce(gains.view(np.uint8), axis=0, dtype=narrow)
        return np.repeat(deep[None].astype(np.float32), self._n_groups, axis=0)

    def shift_bounds(self) -> tuple[float, float]:
        return -math.log(float(self._gains.max())) - 1, 1 - math.log(float(self._gains.min()))

    def at_depth(self, desired_depth: float) -> Scores:
        return fit_cost(self, lambda depth_map: float(depth_map.mean(dtype=np.float64)), desired_depth, 0.0)

    def curve(self, least_gains: npt.NDArray[np.float32]) -> "ErrorCurve":
        """Cost and error at each of these, ascending, from a sample of the gains."""
        step = max(1, self._gains.size // CURVE_SAMPLE)
        sample, own = (each.reshape(-1)[::step] for each in (self._gains, self._unspent[:-1] - self._unspent[1:]))
        order = np.argsort(sample)
        sums = np.concatenate([[0.0], own[order].clip(0).cumsum(dtype=np.float64)])
        below = np.searchsorted(sample[order], least_gains)
        scale = self._gains.size / len(sample)
        return ErrorCurve(1 - below / len(sample), sums[below] * scale, None if self._has_exits else self._full_error)

    def predicted_loss(self, depth_map: DepthMap) -> float | None:
        if self._has_exits:
            return None
        lost = np.take_along_axis(self._unspent, depth_map[:1].astype(np.intp), axis=0)
        return 10 * math.log10(1 + float(lost.sum(dtype=np.float64)) / self._full_error)


def neighbour_blocks(n_blocks: int) -> int:
    """By how many blocks of a group a tile may be shallower than its deepest neighbour."""
    return math.ceil(NEIGHBOUR_SHARE * n_blocks)


def fit_cost(
    family: DepthFamily, cost: Callable[[DepthMap], float], target: float, tolerance: float = TOLERANCE
) -> Scores:
    """The deepest map of whole blocks that costs at most `target`.

    cost: non-decreasing in the depths. A map of zeros must cost at most `target`. If many scores are equal, as in flat
    images, the cost jumps by more than `tolerance` at one shift; then some of them, in raster order, go deeper. Depths
    are rounded up, since a gate of 1 at the last block costs no more than a fractional one.
    """

    def depth_at(shift: float) -> Scores:
        return np.ceil(family.depths(shift))

    low, high = family.shift_bounds()
    if cost(depth_at(high)) <= target:
        return depth_at(high)
    low, high = _bisect(low, high, lambda shift: cost(depth_at(shift)) <= target)
    depth_map = depth_at(low)
    if target - cost(depth_map) <= tolerance:
        return depth_map
    return split_equal(depth_map, depth_at(high), cost, target)


def fit_loss(family: DepthFamily, most: float) -> Scores:
    """The shallowest map whose predicted loss is at most `most`, in dB. The family must predict losses."""

    def loss(shift: float) -> float:
        predicted = family.predicted_loss(family.depths(shift))
        assert predicted is not None  # callers check that the network predicts losses
        return predicted

    low, high = family.shift_bounds()
    if loss(low) <= most:
        return family.depths(low)
    return family.depths(_bisect(low, high, lambda shift: loss(shift) > most)[1])


def _bisect(low: float, high: float, is_below: Callable[[float], bool]) -> tuple[float, float]:
    """Neighbouring values between which `is_below` turns from True, as at `low`, to False, as at `high`."""
    for _ in range(SHIFT_STEPS):
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return low, high


def split_equal(shallow: Scores, deep: Scores, cost: Callable[[DepthMap], float], target: float) -> Scores:
    """`deep` at the first positions in raster order and `shallow` at the others, as many as `target` allows.

    Maps are (G, h, w); cost: as of `fit_cost`.

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
