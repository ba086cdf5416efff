"""What an image will take, known from its size alone: bytes and multiply-accumulates."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adadsr.backends import Engine
from adadsr.graph import Cost
from adadsr.upscaler.memory import Layout
from adadsr.upscaler.plan import averaging_cost, tile_cost, window_depths


@dataclass(frozen=True, eq=False)
class Step:
    """One network's part. Costs include the border and the overlap of tiles.

    Attributes:
        engine: The network.
        name, precision: Of the upscaler.
        layout: How its LR image is cut.
        has_alpha: Whether the image has transparency that varies, which runs like a second image.
    """

    engine: Engine
    name: str
    precision: str
    layout: Layout
    has_alpha: bool = False

    @property
    def is_adaptive(self) -> bool:
        """Whether the network takes budgets."""
        return self.engine.network.adapter is not None

    @cached_property
    def least(self) -> Cost:
        """Cost without any block."""
        network, layout, total = self.engine.network, self.layout, Cost()
        if network.adapter is not None:
            for tile in layout.scored:
                size = tile.window.height, tile.window.width
                head = 0 if layout.is_whole else network.head.macs(*size)
                total += Cost(head=head, adapter=network.adapter.macs(*size))
        return self._of_both(total + self._of_tiles(np.zeros(network.map_shape(*layout.frame.size), np.float32)))

    @cached_property
    def dense(self) -> Cost:
        """Cost at full depth."""
        return self._of_both(self._of_tiles(None))

    @property
    def least_budget(self) -> float:
        """Cost without any block, as a share of the cost at full depth; 1 if the network takes no budgets."""
        return self.least.total / self.dense.total if self.is_adaptive else 1.0

    def budget_at(self, share: float) -> float:
        """Budget that is spent when this share of the blocks runs."""
        if not self.is_adaptive:
            return 1.0
        blocks = self.dense.body - self.least.body  # the rest of the body runs at any depth
        return min(1.0, (self.least.total + share * blocks) / self.dense.total)

    def cost(self, budget: float) -> Cost:
        """Cost at a budget, as nearly as it shows without the image."""
        if budget >= 1 or not self.is_adaptive:
            return self.dense
        body = round(budget * self.dense.total) - (self.least.total - self.least.body)
        return Cost(self.least.head, self.least.adapter, max(self.least.body, body), self.least.tail)

    def _of_tiles(self, depth_map: np.ndarray | None) -> Cost:
        network, layout = self.engine.network, self.layout
        costs = (
            tile_cost(network, tile, window_depths(network, layout, depth_map, tile), head=True)
            for tile in layout.tiles
        )
        return sum(costs, averaging_cost(network, layout, depth_map))

    def _of_both(self, cost: Cost) -> Cost:
        return cost + cost if self.has_alpha else cost


@dataclass(frozen=True, eq=False)
class Outlook:
    """All steps of one image.

    Attributes:
        steps: One for each network.
        height, width: Of the output.
        bytes: Working memory, including images.
    """

    steps: tuple[Step, ...]
    height: int
    width: int
    bytes: int

    def macs(self, budget: float) -> int:
        """Multiply-accumulates at a budget, as nearly as they show without the image."""
        return sum(step.cost(budget).total for step in self.steps)

    @property
    def is_adaptive(self) -> bool:
        """Whether a budget makes it cheaper."""
        return any(step.is_adaptive for step in self.steps)

    @property
    def least_budget(self) -> float:
        """The smallest budget of all networks that take one; 1 if none does."""
        return max((step.least_budget for step in self.steps if step.is_adaptive), default=1.0)
