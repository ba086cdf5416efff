"""One network on one device: from an LR tensor to parts of the SR image, within memory and budget.

Two passes over the tiles: the first predicts the scores of the whole image, from which the depth map is made and
calibrated; the second runs head, body and tail. An image that is one tile keeps its features between the passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from adadsr.cost import Cost, CostModel
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.models import Network
from adadsr.models.layers import rgb_mean
from adadsr.sparse.backends import Backend
from adadsr.sparse.body import body_macs, in_type
from adadsr.sparse.depth import mean_depth
from adadsr.tiling import Tile, bands, depth_cap, plan_tiles
from adadsr.upscaler.memory import Copies, Limits, give_back
from adadsr.upscaler.report import Target

SCORED_SIDE = 4
"""Scores are made of windows that start at multiples of so many LR pixels: of depth tiles, and of tiles of convs."""
TAIL_REACH = 2
"""LR pixels around a pixel that the tail looks at: one for its first conv, less than one for those after it."""
PARTIAL_CONTEXT = 32
"""LR pixels around a tile where every pixel depends on the whole image, as in RCAN."""
BODY_SHARE = 0.9
"""About how much of a tile's time its body takes."""


class NotFiniteError(Exception):
    """A result in half precision is no number or infinite: features left the range of the type."""


@dataclass(frozen=True)
class Outcome:
    """depth_map: (1, G, ceil(H/t), ceil(W/t)), None at full depth. The rest: see `Report`."""

    depth_map: Tensor | None
    mean_depth: float
    achieved_budget: float
    executed: Cost
    dense: Cost
    tiles: int
    exact: bool


class Passes:
    """A network ready to run on images of any size. Holds nothing of a run, so that threads may share it."""

    def __init__(self, network: Network, backend: Backend, dtype: torch.dtype = torch.float32) -> None:
        """network: in float32. dtype: of body and tail; head and adapter, and so the depth map, stay as they are."""
        self.network, self.config = network, network.config
        self.device = network.head.conv.weight.device
        self.costs = CostModel(network.config)
        self.body = network.body.tensors()
        self.dtype = dtype
        self.prepared = backend.prepare(in_type(self.body, dtype))
        self.copies = Copies(self.prepared.copies, backend.tail_copies)
        self.front = backend.prepare_front(network.front())
        self.tail = backend.prepare_tail(in_type(network.tail.tensors(), dtype))
        self.mean = rgb_mean(network.head.conv.weight)
        # The closing conv and the tail look around the last block's output, each block two pixels further.
        self.margin = 1 + TAIL_REACH
        reach = self.margin + 2 * self.config.n_resblocks + 1
        self.context = reach if self.body.is_local else PARTIAL_CONTEXT

    @torch.inference_mode()
    def run(
        self,
        lr: Tensor,
        target: Target,
        limits: Limits,
        write: Callable[[Box, Tensor], None],
        progress: Callable[[float], None],
    ) -> Outcome:
        """lr: (1, 3, H, W) in 0..255, on the network's device.

        write: takes each finished part of the SR image, its place and (1, 3, h, w). progress: the share done.
        Raises InputError, and NotFiniteError, perhaps after parts were written.
        """
        tiles = self._tiles(lr, limits.side, self.context, self.config.depth_tile)
        executed, depth_map, z0 = Cost(), None, None
        if not target.is_full(self.config.n_resblocks):
            nominal = self._nominal_depth(target, self.costs.dense(*lr.shape[-2:]))
            scores, whole_z0, executed = self._scores(lr, nominal, limits.side)
            z0 = whole_z0 if len(tiles) == 1 else None  # an image of several tiles may be a single one when scored
            depth_map = self._depth_map(scores, target, lr.shape[-2], lr.shape[-1])
        for index, tile in enumerate(tiles):
            depth = self._window_depth(depth_map, tile)
            within = partial(_report_tile, progress, index, len(tiles))
            executed += self._run_tile(lr, tile, z0, depth, limits, write, within)
            progress((index + 1) / len(tiles))
            if len(tiles) > 1:
                give_back()
        dense = sum((self._dense(tile, limits) for tile in tiles), Cost())
        blocks, whole = self.config.n_resblocks, len(tiles) == 1
        mean = blocks if depth_map is None else mean_depth(depth_map, blocks)
        share = executed.total / dense.total if whole else self._share(depth_map, *lr.shape[-2:])
        return Outcome(depth_map, mean, share, executed, dense, len(tiles), whole or self.body.is_local)

    def _tiles(self, lr: Tensor, side: int, context: int, align: int) -> list[Tile]:
        height, width = lr.shape[-2:]
        return plan_tiles(height, width, side, context, align)

    def _scores(self, lr: Tensor, desired_depth: float, side: int) -> tuple[Tensor, Tensor | None, Cost]:
        """Scores of the whole image, its features where it is one tile, and what that cost."""
        unit = self.config.depth_tile
        height, width = lr.shape[-2:]
        scores = lr.new_empty(1, self.config.n_groups, -(-height // unit), -(-width // unit))
        # The scores of the whole image to the last bit: a budget may cut between two that are nearly equal.
        tiles = self._tiles(lr, side, self.network.require_adapter().reach + 1, SCORED_SIDE)
        cost, z0 = Cost(), None
        for tile in tiles:
            z0 = None  # its memory is used again
            z0, part = self.front(tile.window.of(lr), lr.new_full((1,), desired_depth))
            assert part is not None
            core = tile.core.coarse(unit)
            core.of(scores).copy_(core.relative_to(tile.window.coarse(unit)).of(part))
            size = tile.window.height, tile.window.width
            cost += self.costs.head(*size) + self.costs.adapter(*size)
            if len(tiles) > 1:
                give_back()
        return scores, z0 if len(tiles) == 1 else None, cost

    def _nominal_depth(self, target: Target, dense: Cost) -> float:
        """The desired depth that the adapter is asked for; for a budget the depth that about fills it."""
        if target.depth is not None:
            return target.depth
        assert target.budget is not None
        share = 1 - (1 - target.budget) * dense.total / dense.body
        return min(max(share, 0.0), 1.0) * self.config.n_resblocks

    def _depth_map(self, scores: Tensor, target: Target, height: int, width: int) -> Tensor:
        """The depth map at the desired depth, or the deepest one whose cost stays within the budget.

        A budget is priced for the whole image, so that the map does not depend on tiles. It pays for whole blocks, so
        depths are rounded up: a gate of 1 at the last block costs no more than a fraction.
        """
        adapter = self.network.require_adapter()
        if target.budget is None:
            return adapter.at_depth(scores, scores.new_full((1,), target.depth or 0.0))
        least = self._share(torch.zeros_like(scores), height, width)
        if target.budget < least:
            raise InputError(
                f"budget={target.budget:g}: head, adapter, closing convs and tail alone cost {least:.4f} of the full "
                f"network on this image; ask for at least {least + 5e-4:.3f}"
            )
        return adapter.within(scores, lambda depth_map: self._share(depth_map, height, width), target.budget)

    def _share(self, depth_map: Tensor | None, height: int, width: int) -> float:
        """Cost of a depth map on the whole image, as a fraction of the dense network's."""
        dense = self.costs.dense(height, width)
        if depth_map is None:
            return 1.0
        fixed = dense.head + dense.tail + self.costs.adapter(height, width).total
        return (fixed + body_macs(self.body, depth_map, 1, height, width)) / dense.total

    def _window_depth(self, depth_map: Tensor | None, tile: Tile) -> Tensor | None:
        """The depth map of a tile's window, no deeper than its core needs; None where all of it runs at full depth."""
        depth = None if depth_map is None else tile.window.coarse(self.config.depth_tile).of(depth_map)
        if tile.window == tile.core or not self.body.is_local:
            return depth
        cap = depth_cap(tile, self.config.n_resblocks, self.margin, self.config.depth_tile)[None, None]
        return cap.to(self.device) if depth is None else torch.minimum(depth, cap.to(depth))

    def _dense(self, tile: Tile, limits: Limits) -> Cost:
        """What the full-depth network costs on a tile."""
        height, width = tile.window.height, tile.window.width
        body = body_macs(self.body, self._window_depth(None, tile), 1, height, width)
        return Cost(body=body) + self._fixed(tile, limits, None)

    def _fixed(self, tile: Tile, limits: Limits, z0: Tensor | None) -> Cost:
        """What a tile costs beside the body: the head where its features are not there yet, and the tail."""
        cost = Cost() if z0 is not None else self.costs.head(tile.window.height, tile.window.width)
        for _, region in self._tail_bands(tile, limits):
            cost += self.costs.tail(region.height, region.width)
        return cost

    def _tail_bands(self, tile: Tile, limits: Limits) -> list[tuple[Box, Box]]:
        """The bands that the tail enlarges, each with the region that it has to see."""
        rows = max(1, limits.tail_pixels // tile.core.width)
        return [(band, band.grown(TAIL_REACH, tile.window)) for band in bands(tile.core, rows)]

    def _run_tile(
        self,
        lr: Tensor,
        tile: Tile,
        z0: Tensor | None,
        depth: Tensor | None,
        limits: Limits,
        write: Callable[[Box, Tensor], None],
        progress: Callable[[float], None],
    ) -> Cost:
        """Head, body and tail of one tile; returns what was executed."""
        cost = self._fixed(tile, limits, z0)
        features = self.front(tile.window.of(lr), None).z0 if z0 is None else z0
        run = self.prepared.run(features.to(self.dtype), depth, progress)
        for band, region in self._tail_bands(tile, limits):
            sr = self.tail(region.relative_to(tile.window).of(run.z)) + self.mean
            if self.dtype != torch.float32 and not bool(torch.isfinite(sr).all()):
                raise NotFiniteError
            scale = self.config.scale
            write(band.scaled(scale), band.relative_to(region).scaled(scale).of(sr))
        return cost + Cost(body=run.macs)


def _report_tile(progress: Callable[[float], None], index: int, tiles: int, share: float) -> None:
    """Report the share of a tile's body that is done; the tail comes after it."""
    progress((index + BODY_SHARE * share) / tiles)
