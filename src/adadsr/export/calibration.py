"""From an adapter's scores to the depth map within limits inside a graph, as `graph.calibration` does it."""

import math
from typing import NamedTuple, Protocol

import numpy as np

from adadsr.export.pricing import FramePrice
from adadsr.export.values import DOUBLE, FLOAT, INDEX, INT, Value
from adadsr.graph import NetworkWeights, calibration


class LimitValues(NamedTuple):
    """What a run may cost and must keep, scalars of DOUBLE.

    budget: share of the dense network's cost; 1 or more is no limit. max_loss: predicted loss in dB at which a run need
    not go deeper; 0 or less asks for all that the budget pays for.
    """

    budget: Value
    max_loss: Value

    @classmethod
    def of(cls, budget: Value, max_loss: Value | None = None) -> "LimitValues":
        """From scalars of FLOAT."""
        loss = budget.nodes.constant(0, DOUBLE) if max_loss is None else max_loss.cast(DOUBLE)
        return cls(budget.cast(DOUBLE), loss)

    @property
    def are_none(self) -> Value:
        """Whether all may run."""
        return (self.budget >= 1) & (self.max_loss > 0).is_not()


class Family(Protocol):
    """The depth maps of an image, from none to all, one for every shift; see `calibration.DepthFamily`."""

    def bounds(self) -> tuple[Value, Value]:
        """The shifts of the shallowest and of the deepest map, scalars of DOUBLE."""

    def depths(self, shift: Value) -> Value:
        """Whole blocks for a shift, (1, G, h, w) of INDEX."""

    def predicted_loss(self, depths: Value) -> Value:
        """PSNR in dB that a map loses, a scalar of DOUBLE; 0 if the adapter cannot tell."""


class PixelFamily:
    """See `calibration.PixelDepths`; depths are rounded up, as `calibration.fit_cost` does."""

    def __init__(self, scores: Value, n_blocks: int) -> None:
        """scores: (1, G, h, w), the depths themselves."""
        self._scores, self._n_blocks = scores, n_blocks

    def bounds(self) -> tuple[Value, Value]:
        most, least = self._scores.max().cast(DOUBLE), self._scores.min().cast(DOUBLE)
        return -most - 1, -least + (self._n_blocks + 1)

    def depths(self, shift: Value) -> Value:
        raised = (self._scores + shift.cast(FLOAT)).clip(0, self._n_blocks)
        return self._scores.nodes.op("Ceil", raised).cast(INDEX)

    def predicted_loss(self, depths: Value) -> Value:
        return self._scores.nodes.constant(0, DOUBLE)


class ErrorFamily:
    """See `calibration.ErrorDepths`."""

    def __init__(self, scores: Value, n_blocks: int, n_groups: int) -> None:
        """scores: (1, B + 1, h, w). n_blocks: B. n_groups: G; all groups get the same depth."""
        nodes = scores.nodes
        self._n_groups, most = n_groups, calibration.LARGEST_LOG
        full = nodes.op("Exp", scores.slice([0], [1], [1]).clip(-most, most))
        slopes = softplus(scores.slice([1], [n_blocks + 1], [1]))
        gains = full * nodes.op("CumSum", slopes, nodes.constant(1, INT), reverse=1)
        self._predicted = gains.maximum(calibration.LEAST_GAIN)
        self._full_error = full.cast(DOUBLE).sum()
        flat = self._predicted.sum(1).unsqueeze(1) < calibration.FLAT_GAIN
        shared = (self._predicted * flat.cast(FLOAT)).sum(2, 3) / flat.cast(FLOAT).sum(2, 3).maximum(1)
        gains = nodes.where(flat, shared.unsqueeze(2, 3), self._predicted)
        if 0 < (n := calibration.neighbour_blocks(n_blocks)) < n_blocks:
            around = gains.slice([n], [n_blocks], [1]).dilated()
            raised = gains.slice([0], [n_blocks - n], [1]).maximum(around)
            gains = nodes.concatenate([raised, gains.slice([n_blocks - n], [n_blocks], [1])], axis=1)
        self._gains = gains

    def bounds(self) -> tuple[Value, Value]:
        low, high = (
            self._gains.nodes.op("Log", value.cast(DOUBLE)) for value in (self._gains.max(), self._gains.min())
        )
        return -low - 1, -high + 1

    def depths(self, shift: Value) -> Value:
        nodes = self._gains.nodes
        deep = (self._gains >= nodes.op("Exp", -shift).cast(FLOAT)).cast(INDEX).sum(1).unsqueeze(1)
        return nodes.op("Expand", deep, nodes.ints(1, self._n_groups, 1, 1))

    def predicted_loss(self, depths: Value) -> Value:
        nodes = self._gains.nodes
        number = nodes.count(self._gains.size(1)).cast(INDEX).reshape(1, -1, 1, 1)
        is_left = number >= depths.slice([0], [1], [1])
        lost = (self._predicted * is_left.cast(FLOAT)).sum(1).cast(DOUBLE).sum()
        loss: Value = nodes.op("Log", lost / self._full_error + 1) * (10 / math.log(10))
        return loss


def with_colors(network: NetworkWeights, scores: Value, lr: Value) -> Value:
    """Scores, (1, B + 1, h, w), in which tiles of one colour have the same; see `calibration.keep_colors`.

    lr: the image, (1, 3, H, W) in levels.
    """
    if not network.require_adapter().predicts_errors:
        return scores
    nodes, tile = scores.nodes, network.depth_tile
    # The last tile may be incomplete; OpenVINO and ONNX Runtime differ in what `ceil_mode` does with it.
    rest = [scores.size(axis) * tile - lr.size(axis) + tile for axis in (2, 3)]

    def most(values: Value) -> Value:
        padded = values.pad([0, 0, tile, tile], [0, 0, *rest], -math.inf)
        return nodes.op("MaxPool", padded, kernel_shape=[3 * tile] * 2, strides=[tile] * 2)

    flat = (most(lr) + most(-lr)).max(1).unsqueeze(1) <= calibration.COLOR_RANGE
    known = calibration.color_scores(network.n_blocks).reshape(1, -1, 1, 1)
    return nodes.where(flat, nodes.constant(known), scores)


def softplus(x: Value) -> Value:
    """log(1 + exp(x)), exact also where it is tiny, for which OpenVINO's own operator gives noise.

    log(1 + y) = 2 artanh(y / (2 + y)).
    """
    nodes = x.nodes
    small = nodes.op("Exp", -nodes.op("Abs", x))
    return nodes.op("Atanh", small / (small + 2)) * 2 + x.maximum(0)


def family_for(network: NetworkWeights, scores: Value) -> Family:
    """The maps for scores in a graph."""
    if network.require_adapter().predicts_errors:
        return ErrorFamily(scores, network.n_blocks, network.n_groups)
    return PixelFamily(scores, network.n_blocks)


def desired_depth(network: NetworkWeights, price: FramePrice, limits: LimitValues) -> Value:
    """The depth for the adapter of one image, (1,) in blocks: the one that roughly spends the budget."""
    share = 1 - (1 - limits.budget) * price.dense / price.body
    known = limits.budget.nodes.where(share > 0, share, 0)  # 0 also where the budget is NaN
    return (known.minimum(1) * network.n_blocks).cast(FLOAT).reshape(1)


class Calibrated(NamedTuple):
    """A depth map, (1, G, h, w) of INDEX.

    share: its cost as a share of the dense network's. predicted_loss: in dB. Both are scalars of DOUBLE.
    """

    depths: Value
    share: Value
    predicted_loss: Value


def fit(family: Family, price: FramePrice, limits: LimitValues) -> Calibrated:
    """The shallowest map within the loss, or the deepest one within the budget, whichever costs less.

    See `calibration.fit_loss` and `calibration.fit_cost`.
    """
    nodes, bounds = limits.budget.nodes, family.bounds()
    budget = nodes.where(limits.budget >= 1, math.inf, limits.budget)

    def halve(low: Value, high: Value) -> list[Value]:
        middle = (low + high) / 2
        return _half(low, middle, high, price.share(family.depths(middle)) <= budget)

    low, high = nodes.repeat(bounds, halve, times=calibration.SHIFT_STEPS)
    enough = _enough(family, bounds, limits.max_loss)
    shallow, deep = family.depths(low.minimum(enough)), family.depths(high)
    is_wasteful = (enough > low) & ((budget - price.share(shallow)) > calibration.TOLERANCE)
    depths = _split_equal(shallow, deep, price, budget, is_wasteful)
    return Calibrated(depths, price.share(depths), family.predicted_loss(depths))


def _enough(family: Family, bounds: tuple[Value, Value], most: Value) -> Value:
    """The smallest shift at which the predicted loss is at most `most`, in dB; infinite for 0 or less."""
    nodes = most.nodes

    def bisected() -> list[Value]:
        def halve(low: Value, high: Value) -> list[Value]:
            middle = (low + high) / 2
            return _half(low, middle, high, family.predicted_loss(family.depths(middle)) > most)

        return nodes.repeat(bounds, halve, times=calibration.SHIFT_STEPS)[1:]

    (shift,) = nodes.branch(most > 0, bisected, lambda: [nodes.constant(np.inf, DOUBLE)])
    return shift


def _split_equal(shallow: Value, deep: Value, price: FramePrice, budget: Value, is_wasteful: Value) -> Value:
    """`deep` at the first positions in raster order, as many as the budget allows; none unless `is_wasteful`."""
    nodes = budget.nodes
    height, width = shallow.size(2), shallow.size(3)
    order = nodes.count(height * width).reshape(height, width)

    def halve(low: Value, high: Value) -> list[Value]:
        middle = (low + high) // 2
        return _half(low, middle, high, price.share(nodes.where(order < middle, deep, shallow)) <= budget)

    def goes_on(low: Value, high: Value) -> Value:
        return is_wasteful & ((high - low) > 1)

    first = nodes.constant(0, INT), height * width
    low, _ = nodes.repeat(first, halve, condition=goes_on)
    return nodes.where(order < low, deep, shallow)


def _half(low: Value, middle: Value, high: Value, is_below: Value) -> list[Value]:
    """The upper half of an interval if its boundary lies there, otherwise the lower one."""
    where = low.nodes.where
    return [where(is_below, middle, low), where(is_below, high, middle)]
