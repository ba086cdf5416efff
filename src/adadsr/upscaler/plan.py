"""What a run will do and cost, known before the first conv of the body."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from adadsr.backends import DepthMap, band_rows
from adadsr.errors import BudgetError, InputError
from adadsr.geometry import Box
from adadsr.graph import Cost, NetworkWeights, price
from adadsr.graph.calibration import DepthFamily, fit_cost, fit_loss
from adadsr.graph.depth import mean_depth
from adadsr.graph.price import BodyPrice, body_macs
from adadsr.tiling import Tile, bands, depth_cap
from adadsr.upscaler.frame import Frame
from adadsr.upscaler.memory import Layout
from adadsr.upscaler.report import Target

_BUDGET_ROUNDING = 5e-4  # so that messages can give three digits


@dataclass(frozen=True, eq=False)
class Plan:
    """One way to run one prepared image. Made by `Prepared.plan`.

    Attributes:
        network: The network.
        layout: How the image is cut.
        target: The request.
        depth_map: Of the picture, (G, ceil(H/t), ceil(W/t)) in blocks; None if every block runs everywhere. The border
            is as deep as the position next to it.
        scored: Whether head and adapter ran to make the map.
        predicted_loss: PSNR in dB that the colours lose against full depth, as the adapter predicts; None if it cannot
            tell, 0 at full depth.
        alpha: The same for the transparency, which is upscaled as a gray image; None for an opaque one. Costs and
            budget include it.
        seconds: For body and tail, if a time was requested; the run then keeps to it, see `TiledRun.run`.
    """

    network: NetworkWeights
    layout: Layout
    target: Target
    depth_map: DepthMap | None
    scored: bool
    predicted_loss: float | None = None
    alpha: "Plan | None" = None
    seconds: float | None = None

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Tiles of the image."""
        return self.layout.tiles

    @property
    def exact(self) -> bool:
        """Whether the result equals that of the whole image; False if tiles see too little of it."""
        return self.layout.exact

    @property
    def bytes(self) -> int:
        """Working memory of the run, including images."""
        return self.layout.bytes

    @cached_property
    def cost(self) -> Cost:
        """Executed multiply-accumulates of each part, including the border and the overlap of tiles."""
        network, layout = self.network, self.layout
        total = Cost()
        if self.scored and network.adapter is not None:
            for tile in layout.scored:
                size = tile.window.height, tile.window.width
                total += Cost(head=network.head.macs(*size), adapter=network.adapter.macs(*size))
        for tile in layout.tiles:
            head_again = not (self.scored and layout.is_whole)
            total += tile_cost(network, tile, self.depths_of(tile), head=head_again)
        total += averaging_cost(network, layout, self._frame_map)
        return total if self.alpha is None else total + self.alpha.cost

    def depths_of(self, tile: Tile) -> DepthMap | None:
        """The depth map of a tile's window, (G, h, w), no deeper than its core needs; None for full depth."""
        return window_depths(self.network, self.layout, self._frame_map, tile)

    @cached_property
    def _frame_map(self) -> DepthMap | None:
        frame, unit = self.layout.frame, self.network.depth_tile
        return None if self.depth_map is None else frame.extended_map(self.depth_map, unit)

    @cached_property
    def dense_cost(self) -> Cost:
        """The same for the network at full depth, without its adapter, in the same tiles."""
        costs = [
            tile_cost(self.network, tile, window_depths(self.network, self.layout, None, tile), head=True)
            for tile in self.layout.tiles
        ]
        averaging = averaging_cost(self.network, self.layout, None)
        return sum(costs, averaging if self.alpha is None else averaging + self.alpha.dense_cost)

    @cached_property
    def budget(self) -> float:
        """Cost of the depth map on the whole image in one tile, as a fraction of the dense network's cost."""
        color = budget_of(self.network, self.layout.frame, self.depth_map, scored=self.scored)
        return color if self.alpha is None else (color + self.alpha.budget) / 2

    @cached_property
    def mean_depth(self) -> float:
        """Mean number of blocks run at a position; a fraction counts as a fraction."""
        blocks = self.network.n_blocks
        return float(blocks) if self.depth_map is None else mean_depth(self.depth_map, blocks)


@dataclass(frozen=True, eq=False)
class ChainPlan:
    """What a chain will do with one picture.

    Attributes:
        target: The request; `networks` have a budget in place of seconds.
        networks: A plan of each network. That of the first is exact; the others are at full depth, since their depth
            maps need the result of the network before. With a budget they cost at most that share of it.
        scales: Of the networks.
        before, after: Height and width of the picture and of the output.
        bytes: Working memory of the run, including images.
        chosen_for: Lossy format for which a network for photos was chosen; None if it was not.
    """

    target: Target
    networks: tuple[Plan, ...]
    scales: tuple[int, ...]
    before: tuple[int, int]
    after: tuple[int, int]
    bytes: int
    chosen_for: str | None = None

    @property
    def first(self) -> Plan:
        """Plan of the first network."""
        return self.networks[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the run, if all networks get the budget of the first."""
        budget = self.first.budget
        later = (
            plan.dense_cost.total * (1.0 if plan.network.adapter is None else budget) for plan in self.networks[1:]
        )
        return self.first.cost.total + round(sum(later))

    @property
    def reduced_from(self) -> tuple[int, int] | None:
        """Height and width of the last network's result, if that is reduced to the output."""
        (height, width), product = self.before, math.prod(self.scales)
        last = height * product, width * product
        return None if last == self.after else last


def budget_of(network: NetworkWeights, frame: Frame, depth_map: DepthMap | None, *, scored: bool = True) -> float:
    """Cost of a picture's depth map, (G, h, w), on a whole frame, as a fraction of the dense network's cost.

    scored: whether the adapter made the map and so counts.
    """
    return budgets(network, frame, scored=scored)(depth_map)


def budgets(network: NetworkWeights, frame: Frame, *, scored: bool = True) -> Callable[[DepthMap | None], float]:
    """The same as a function of the depth map, quick to call for many maps."""
    dense = _dense_price(network, frame)
    adapter = network.adapter.macs(*frame.size) if scored and network.adapter is not None else 0
    fixed, body = dense.head + adapter + dense.tail, BodyPrice(network.body)

    def budget(depth_map: DepthMap | None) -> float:
        if depth_map is None:
            return 1.0
        framed = frame.extended_map(depth_map, network.depth_tile)
        return (fixed + body.macs(*frame.size, framed[None])) / dense.total

    return budget


def _dense_price(network: NetworkWeights, frame: Frame) -> Cost:
    """Price of a frame at full depth, without the adapter. The tail enlarges the picture only."""
    restored = frame.picture.grown(network.tail.reach, frame.box)
    return replace(price(network, *frame.size), tail=network.tail.macs(restored.height, restored.width))


def least_budget(network: NetworkWeights, frame: Frame) -> float:
    """Budget of an adaptive network that runs no block."""
    return budget_of(network, frame, np.zeros(network.map_shape(frame.height, frame.width), np.float32))


def enough_budget(network: NetworkWeights, frame: Frame) -> float:
    """A budget that an adaptive network surely meets."""
    return min(1.0, least_budget(network, frame) + _BUDGET_ROUNDING)


def check_budget(network: NetworkWeights, frame: Frame, budget: float) -> None:
    """Raise BudgetError for a budget below the cost of the network without any block."""
    least = least_budget(network, frame)
    if budget < least:
        enough = enough_budget(network, frame)
        raise BudgetError(
            f"budget={budget:g} is too small: everything but the residual blocks costs {least:.4f} of the full "
            f"network on this image; use at least {enough:.3f}",
            enough,
        )


def desired_depth(network: NetworkWeights, frame: Frame, target: Target) -> float:
    """Desired depth for the adapter, in blocks; for a budget, the depth that roughly spends it."""
    if target.depth is not None:
        return target.depth
    dense, budget = _dense_price(network, frame), target.budget or 1.0
    share = 1 - (1 - budget) * dense.total / dense.body
    return min(max(share, 0.0), 1.0) * network.n_blocks


def map_for(network: NetworkWeights, frame: Frame, family: DepthFamily, target: Target) -> DepthMap:
    """The picture's map at the desired depth or least gain, the deepest within the budget, or the shallowest within the
    loss.

    family: of the picture. Returns (G, h, w), in blocks. A budget applies to the whole image, so that the map does not
    depend on tiles. Raises BudgetError for a budget below the cost of the network without any block.
    """
    if target.max_loss is not None:
        return fit_loss(family, target.max_loss)
    if target.least_gain is not None:
        return family.depths(-math.log(target.least_gain))
    if target.budget is None:
        return family.at_depth(target.depth or 0.0)
    check_budget(network, frame, target.budget)
    return fit_cost(family, budgets(network, frame), target.budget)


def checked_map(network: NetworkWeights, frame: Frame, depth_map: npt.NDArray[np.floating]) -> DepthMap:
    """A copy of a user's depth map in float32, since a plan must not change with what the user does to theirs.

    Raises InputError unless its shape fits and its depths are finite and >= 0.
    """
    expected = network.map_shape(frame.height, frame.width)
    given = np.asarray(depth_map)
    if given.shape != expected or given.dtype.kind not in "fiu":
        raise InputError(f"depth_map has shape {given.shape} and type {given.dtype}; pass numbers of shape {expected}")
    with np.errstate(over="ignore"):
        depths = np.array(given, np.float32, order="C")
    wrong = depths[~(np.isfinite(depths) & (depths >= 0))]
    if wrong.size:
        raise InputError(f"depth_map has a depth of {wrong[0]:g}; pass finite numbers of blocks, at least 0")
    return depths


def window_depths(network: NetworkWeights, layout: Layout, depth_map: DepthMap | None, tile: Tile) -> DepthMap | None:
    """The depth map of a tile's window, (G, h, w), no deeper than its core needs.

    depth_map: of the frame, None for full depth. Returns None if the whole window runs at full depth.
    """
    depths = None if depth_map is None else tile.window.coarse(network.depth_tile).of(depth_map)
    blocks, unit = network.body.blocks, network.depth_tile
    if layout.is_whole or not network.has_exact_tiles or not any(block.is_sparse(unit) for block in blocks):
        return depths
    margin = network.margin + hidden_reach(network)
    cap = depth_cap(tile, [block.reach for block in blocks], margin, network.depth_tile)[None]
    return cap if depths is None else np.minimum(depths, cap)


def hidden_reach(network: NetworkWeights) -> int:
    """LR pixels around a position in which its block must run.

    With tile resolution hidden features count as zero where a block does not run, so it must run where they are read.
    """
    stages = [stage for block in network.body.blocks for stage in block.stages]
    return max(stage.dilation for stage in stages) if network.depth_tile > 1 else 0


def tile_cost(network: NetworkWeights, tile: Tile, depths: DepthMap | None, *, head: bool) -> Cost:
    """Cost of head, body and tail of one tile. depths: of its window. head: whether the head runs for this tile."""
    height, width = tile.window.height, tile.window.width
    tail = 0
    for band in tail_bands(tile):
        region = band.grown(network.tail.reach, tile.window)
        tail += network.tail.macs(region.height, region.width)
    body = body_macs(network.body, height, width, None if depths is None else depths[None])
    return Cost(head=network.head.macs(height, width) if head else 0, body=body, tail=tail)


def averaging_cost(network: NetworkWeights, layout: Layout, depth_map: DepthMap | None) -> Cost:
    """Cost of the first pass, head and body, in `Layout.averaged`. depth_map: of the frame, None for full depth."""
    total = Cost()
    for tile in layout.averaged:
        cost = tile_cost(network, tile, window_depths(network, layout, depth_map, tile), head=True)
        total += replace(cost, tail=0)
    return total


def tail_bands(tile: Tile) -> list[Box]:
    """The bands of a tile's core whose SR pixels are made at once."""
    return list(bands(tile.core, band_rows(tile.window.width)))
