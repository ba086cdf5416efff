"""What an image will take, known from its size alone: bytes and multiply-accumulates."""

from dataclasses import dataclass

import numpy as np

from adadsr.graph import Cost, NetworkWeights
from adadsr.upscaler.chain import Chain
from adadsr.upscaler.memory import Layout
from adadsr.upscaler.plan import tile_cost, window_depths
from adadsr.upscaler.sources import picture_bytes
from adadsr.upscaler.upscaler import Upscaler

DEEP_BITS = 16
"""Bits of samples between networks."""


@dataclass(frozen=True)
class Step:
    """One network's part. Costs include the border and the overlap of tiles.

    Attributes:
        upscaler: The network.
        height, width: Of its LR image.
        least: Cost without any block.
        dense: Cost at full depth.
    """

    upscaler: Upscaler
    height: int
    width: int
    least: Cost
    dense: Cost

    def cost(self, budget: float) -> Cost:
        """Cost at a budget, as nearly as it shows without the image."""
        if budget >= 1 or not self.is_adaptive:
            return self.dense
        body = round(budget * self.dense.total) - (self.least.total - self.least.body)
        return Cost(self.least.head, self.least.adapter, max(self.least.body, body), self.least.tail)

    @property
    def is_adaptive(self) -> bool:
        """Whether the network takes budgets."""
        return self.upscaler.engine.network.adapter is not None


@dataclass(frozen=True)
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

    @classmethod
    def of(cls, chain: Chain, height: int, width: int, channels: int = 4, bits: int = 8) -> "Outlook":
        """For an image of a size. channels, bits: at most those of the picture.

        Raises InputError if the size cannot be reached, or the memory limit is too small for it.
        """
        after = chain.size.of(height, width)
        scales = chain.steps(height, width)
        is_single = len(scales) == 1 and after == (height * scales[0], width * scales[0])
        steps, most, held = [], 0, 0 if is_single else height * width * channels * bits // 8
        for scale in scales:
            upscaler, depth = chain.upscaler(scale), bits if is_single else DEEP_BITS
            layout = upscaler.layout(height, width, picture_bytes(height, width, channels, depth, scale))
            least, dense = _costs(upscaler.engine.network, layout)
            steps.append(Step(upscaler, height, width, least, dense))
            most = max(most, layout.bytes)
            height, width = height * scale, width * scale
        if not is_single:
            last = (height * width * DEEP_BITS + after[0] * after[1] * bits) // 8 * channels
            most = held + max(most, last)
        return cls(tuple(steps), *after, most)


def _costs(network: NetworkWeights, layout: Layout) -> tuple[Cost, Cost]:
    """Cost without any block, and at full depth."""
    frame, least, dense = layout.frame, Cost(), Cost()
    if network.adapter is not None:
        for tile in layout.scored:
            size = tile.window.height, tile.window.width
            head = 0 if layout.is_whole else network.head.macs(*size)
            least += Cost(head=head, adapter=network.adapter.macs(*size))
    none = np.zeros(network.map_shape(*frame.size), np.float32)
    for tile in layout.tiles:
        least += tile_cost(network, tile, window_depths(network, layout, none, tile), head=True)
        dense += tile_cost(network, tile, window_depths(network, layout, None, tile), head=True)
    return least, dense
