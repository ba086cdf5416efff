"""From an adapter's scores to the depth map of a budget inside a graph, as `graph.calibration` does it."""

from typing import NamedTuple, Protocol

from adadsr.errors import ExportError
from adadsr.export.pricing import FramePrice
from adadsr.export.values import DOUBLE, FLOAT, INDEX, INT, Value
from adadsr.graph import NetworkWeights, calibration


class Family(Protocol):
    """The depth maps of an image, from none to all, one for every shift; see `calibration.DepthFamily`."""

    def bounds(self) -> tuple[Value, Value]:
        """The shifts of the shallowest and of the deepest map, scalars of DOUBLE."""

    def depths(self, shift: Value) -> Value:
        """Whole blocks for a shift, (1, G, h, w) of INDEX."""


class ErrorFamily:
    """See `calibration.ErrorDepths`."""

    def __init__(self, scores: Value, n_groups: int) -> None:
        """scores: (1, B + 1, h, w). n_groups: G; all groups get the same depth."""
        nodes, n_blocks = scores.nodes, scores.size(1) - 1
        self._n_groups, most = n_groups, calibration.LARGEST_LOG
        full = nodes.op("Exp", scores.slice([0], [1], [1]).clip(-most, most))
        slopes = nodes.op("Softplus", scores.slice([1], [n_blocks + 1], [1]))
        gains = full * nodes.op("CumSum", slopes, nodes.constant(1, INT), reverse=1)
        gains = gains.maximum(calibration.LEAST_GAIN)
        flat = gains.sum(1).unsqueeze(1) < calibration.FLAT_GAIN
        shared = (gains * flat.cast(FLOAT)).sum(2, 3) / flat.cast(FLOAT).sum(2, 3).maximum(1)
        self._gains = nodes.where(flat, shared.unsqueeze(2, 3), gains)

    def bounds(self) -> tuple[Value, Value]:
        low, high = (
            self._gains.nodes.op("Log", value.cast(DOUBLE)) for value in (self._gains.max(), self._gains.min())
        )
        return -low - 1, -high + 1

    def depths(self, shift: Value) -> Value:
        nodes = self._gains.nodes
        deep = (self._gains >= nodes.op("Exp", -shift).cast(FLOAT)).cast(INDEX).sum(1).unsqueeze(1)
        return nodes.op("Expand", deep, nodes.ints(1, self._n_groups, 1, 1))


def family_for(network: NetworkWeights, scores: Value) -> Family:
    """The maps for scores in a graph. Raises ExportError for an adapter whose scores are depths."""
    if not network.require_adapter().predicts_errors:
        raise ExportError(f"the adapter of this {network.kind} has one depth per pixel, which cannot be exported")
    return ErrorFamily(scores, network.n_groups)


class Calibrated(NamedTuple):
    """A depth map, (1, G, h, w) of INDEX, and its cost as a share of the dense network's, DOUBLE."""

    depths: Value
    share: Value


def fit_budget(family: Family, price: FramePrice, budget: Value) -> Calibrated:
    """The deepest map that costs at most the budget, DOUBLE; see `calibration.fit_cost`."""

    def halve(low: Value, high: Value) -> list[Value]:
        middle = (low + high) / 2
        fits = price.share(family.depths(middle)) <= budget
        return [low.nodes.where(fits, middle, low), low.nodes.where(fits, high, middle)]

    low, high = budget.nodes.repeat(family.bounds(), halve, times=calibration.SHIFT_STEPS)
    shallow, deep = family.depths(low), family.depths(high)
    depths = _split_equal(shallow, deep, price, budget)
    return Calibrated(depths, price.share(depths))


def _split_equal(shallow: Value, deep: Value, price: FramePrice, budget: Value) -> Value:
    """`deep` at the first positions in raster order, as many as the budget allows, if it leaves much unspent."""
    nodes = budget.nodes
    height, width = shallow.size(2), shallow.size(3)
    order = nodes.count(height * width).reshape(height, width)
    is_wasteful = (budget - price.share(shallow)) > calibration.TOLERANCE

    def halve(low: Value, high: Value) -> list[Value]:
        middle = (low + high) // 2
        fits = price.share(nodes.where(order < middle, deep, shallow)) <= budget
        return [nodes.where(fits, middle, low), nodes.where(fits, high, middle)]

    def goes_on(low: Value, high: Value) -> Value:
        return is_wasteful & ((high - low) > 1)

    first = nodes.constant(0, INT), height * width
    low, _ = nodes.repeat(first, halve, condition=goes_on)
    return nodes.where(order < low, deep, shallow)
