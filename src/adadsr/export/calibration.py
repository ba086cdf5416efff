"""From an adapter's scores to the depth map of a budget inside a graph, as `graph.calibration` does it.

A kind of adapter is a row of `FAMILIES`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from adadsr.errors import ExportError
from adadsr.export.pricing import FramePrice
from adadsr.export.values import DOUBLE, FLOAT, INDEX, INT, Value
from adadsr.graph import calibration
from adadsr.graph.calibration import DepthFamily


class Family(Protocol):
    """The depth maps of an image, from none to all, one for every shift; see `calibration.DepthFamily`."""

    def bounds(self) -> tuple[Value, Value]:
        """The shifts of the shallowest and of the deepest map, scalars of DOUBLE."""

    def depths(self, shift: Value) -> Value:
        """Whole blocks for a shift, (1, G, h, w) of INDEX."""


class TileFamily:
    """See `calibration.TileDepths`. scores: (1, G, h, w)."""

    def __init__(self, scores: Value, n_blocks: int) -> None:
        self._scores, self._n_blocks = scores, n_blocks

    def bounds(self) -> tuple[Value, Value]:
        low, high = (value.cast(DOUBLE) for value in (self._scores.max(), self._scores.min()))
        return -low - calibration.SATURATION, -high + calibration.SATURATION

    def depths(self, shift: Value) -> Value:
        nodes = self._scores.nodes
        share = nodes.op("Sigmoid", self._scores + shift.cast(FLOAT))
        stretched = share * (1 + 2 * calibration.STRETCH) - calibration.STRETCH
        return nodes.op("Ceil", stretched.clip(0, 1) * self._n_blocks).cast(INDEX)


FAMILIES: dict[type[DepthFamily], Callable[[Value, int], Family]] = {calibration.TileDepths: TileFamily}
"""How the scores of a family become depths in a graph."""


def family_for(family: DepthFamily, scores: Value) -> Family:
    """The same family for scores in a graph. Raises ExportError if there is none."""
    if type(family) not in FAMILIES:
        raise ExportError(f"the depths of this adapter ({type(family).__name__}) cannot be exported")
    return FAMILIES[type(family)](scores, family.n_blocks)


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

    low, high = budget.nodes.repeat(family.bounds(), halve, times=calibration.COST_STEPS)
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
