"""What a run will do and cost, known before the first conv of the body."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from adadsr.backends import DepthMap, band_rows
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.graph import Cost, NetworkWeights, price
from adadsr.graph.calibration import Scores, family_of, fit_cost
from adadsr.graph.depth import mean_depth
from adadsr.graph.price import BodyPrice, body_macs
from adadsr.tiling import Tile, bands, depth_cap
from adadsr.upscaler.memory import Layout
from adadsr.upscaler.report import Target


@dataclass(frozen=True, eq=False)
class Plan:
    """One way to run one prepared image. Made by `Prepared.plan`.

    Attributes:
        network: The network.
        layout: How the image is cut.
        target: The request.
        depth_map: (G, ceil(H/t), ceil(W/t)) in blocks; None if every block runs everywhere.
        scored: Whether head and adapter ran to make the map.
    """

    network: NetworkWeights
    layout: Layout
    target: Target
    depth_map: DepthMap | None
    scored: bool

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Tiles of the image."""
        return self.layout.tiles

    @property
    def exact(self) -> bool:
        """Whether the result equals that of the whole image; False if channel attention sees only tiles."""
        return self.layout.exact

    @property
    def bytes(self) -> int:
        """Working memory of the run, including images."""
        return self.layout.bytes

    @cached_property
    def cost(self) -> Cost:
        """Executed multiply-accumulates of each part, including the overlap of tiles."""
        network, layout = self.network, self.layout
        total = Cost()
        if self.scored and network.adapter is not None:
            for tile in layout.scored:
                size = tile.window.height, tile.window.width
                total += Cost(head=network.head.macs(*size), adapter=network.adapter.macs(*size))
        for tile in layout.tiles:
            head_again = not (self.scored and layout.is_whole)
            total += tile_cost(network, tile, window_depths(network, self.depth_map, tile), head=head_again)
        return total

    @cached_property
    def dense_cost(self) -> Cost:
        """The same for the network at full depth, without its adapter, in the same tiles."""
        costs = [
            tile_cost(self.network, tile, window_depths(self.network, None, tile), head=True)
            for tile in self.layout.tiles
        ]
        return sum(costs, Cost())

    @cached_property
    def budget(self) -> float:
        """Cost of the depth map on the whole image in one tile, as a fraction of the dense network's cost."""
        return budget_of(self.network, self.layout.height, self.layout.width, self.depth_map, scored=self.scored)

    @cached_property
    def mean_depth(self) -> float:
        """Mean number of blocks run at a position; a fraction counts as a fraction."""
        blocks = self.network.n_blocks
        return float(blocks) if self.depth_map is None else mean_depth(self.depth_map, blocks)


def budget_of(
    network: NetworkWeights, height: int, width: int, depth_map: DepthMap | None, *, scored: bool = True
) -> float:
    """Cost of a depth map, (G, h, w), on a whole image, as a fraction of the dense network's cost.

    scored: whether the adapter made the map and so counts.
    """
    return budgets(network, height, width, scored=scored)(depth_map)


def budgets(
    network: NetworkWeights, height: int, width: int, *, scored: bool = True
) -> Callable[[DepthMap | None], float]:
    """The same as a function of the depth map, quick to call for many maps."""
    dense = price(network, height, width)
    adapter = network.adapter.macs(height, width) if scored and network.adapter is not None else 0
    fixed, body = dense.head + adapter + dense.tail, BodyPrice(network.body)

    def budget(depth_map: DepthMap | None) -> float:
        if depth_map is None:
            return 1.0
        return (fixed + body.macs(height, width, depth_map[None])) / dense.total

    return budget


def least_budget(network: NetworkWeights, height: int, width: int) -> float:
    """Budget of an adaptive network that runs no block."""
    return budget_of(network, height, width, np.zeros(network.map_shape(height, width), np.float32))


def desired_depth(network: NetworkWeights, height: int, width: int, target: Target) -> float:
    """Desired depth for the adapter, in blocks; for a budget, the depth that roughly spends it."""
    if target.depth is not None:
        return target.depth
    dense, budget = price(network, height, width), target.budget or 1.0
    share = 1 - (1 - budget) * dense.total / dense.body
    return min(max(share, 0.0), 1.0) * network.n_blocks


def map_for(network: NetworkWeights, height: int, width: int, scores: Scores, target: Target) -> DepthMap:
    """The map at the desired depth, or the deepest one within the budget; (G, h, w), in blocks.

    A budget applies to the whole image, so that the map does not depend on tiles. Raises InputError for a budget below
    the cost of the network without any block.
    """
    family = family_of(network.require_adapter(), network.n_blocks)
    if target.budget is None:
        whole: DepthMap = family.at_depth(scores[None], target.depth or 0.0)[0]
        return whole
    least = least_budget(network, height, width)
    if target.budget < least:
        raise InputError(
            f"budget={target.budget:g} is too small: everything but the residual blocks costs {least:.4f} of the full "
            f"network on this image; use at least {least + 5e-4:.3f}"
        )
    return fit_cost(family, scores, budgets(network, height, width), target.budget)


def checked_map(network: NetworkWeights, height: int, width: int, depth_map: npt.NDArray[np.floating]) -> DepthMap:
    """A user's depth map as float32. Raises InputError unless its shape fits and its depths are finite and >= 0."""
    expected = network.map_shape(height, width)
    given = np.asarray(depth_map)
    if given.shape != expected or given.dtype.kind not in "fiu":
        raise InputError(f"depth_map has shape {given.shape} and type {given.dtype}; pass numbers of shape {expected}")
    if not np.isfinite(given).all() or given.min() < 0:
        raise InputError(f"depth_map has a depth of {given.min():g}; pass finite numbers of blocks, at least 0")
    return np.ascontiguousarray(given, np.float32)


def window_depths(network: NetworkWeights, depth_map: DepthMap | None, tile: Tile) -> DepthMap | None:
    """The depth map of a tile's window, (G, h, w), no deeper than its core needs.

    depth_map: of the whole image, None for full depth. Returns None if the whole window runs at full depth.
    """
    depths = None if depth_map is None else tile.window.coarse(network.depth_tile).of(depth_map)
    if tile.window == tile.core or not network.body.is_local:
        return depths
    reaches = [block.reach for block in network.body.blocks]
    cap = depth_cap(tile, reaches, network.margin, network.depth_tile)[None]
    return cap if depths is None else np.minimum(depths, cap)


def tile_cost(network: NetworkWeights, tile: Tile, depths: DepthMap | None, *, head: bool) -> Cost:
    """Cost of head, body and tail of one tile. depths: of its window. head: whether the head runs for this tile."""
    height, width = tile.window.height, tile.window.width
    tail = 0
    for band in tail_bands(tile):
        region = band.grown(network.tail.reach, tile.window)
        tail += network.tail.macs(region.height, region.width)
    body = body_macs(network.body, height, width, None if depths is None else depths[None])
    return Cost(head=network.head.macs(height, width) if head else 0, body=body, tail=tail)


def tail_bands(tile: Tile) -> list[Box]:
    """The bands of a tile's core whose SR pixels are made at once."""
    return list(bands(tile.core, band_rows(tile.window.width)))
