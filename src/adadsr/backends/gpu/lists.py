"""Lists of active positions at which convs run, made on the device from the depth map, without waiting for it.

A position is a tile of `side` x `side` pixels, or a pixel if `side` is 1; positions are numbered in raster order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SORT_BYTES = 32
"""Bytes per position that sorting allocates besides its result: the rounded depth (4), int16 keys before and after (4),
their int64 order (8), and the same again for the sort's own workspace."""


class Lists(NamedTuple):
    """The active positions of every block, image by image.

    positions: (N, G, P) int32, all positions of an image, deepest first and in raster order within one depth.
    counts: (N, G, B) int32. A block's active set is the first `counts` of `positions`, since active sets are nested.
    """

    positions: Tensor
    counts: Tensor


@dataclass(frozen=True)
class LaunchDomain:
    """Where the convs of a group's blocks run, in images of height x width pixels, and with which gates.

    side: pixels along a position. depth_map: (N, G, h, w) float32, in blocks; None for a gate of 1.
    lists: the positions of each block; None for all. group: index of the group.
    """

    height: int
    width: int
    side: int
    depth_map: Tensor | None = None
    lists: Lists | None = None
    group: int = 0

    @property
    def columns(self) -> int:
        """Positions per row of an image."""
        return -(-self.width // self.side)

    @property
    def n_positions(self) -> int:
        """Positions per image."""
        return self.columns * -(-self.height // self.side)

    @property
    def n_blocks(self) -> int:
        """Number of blocks in the lists."""
        return 1 if self.lists is None else self.lists.counts.shape[2]

    @property
    def n_groups(self) -> int:
        """Number of groups in the lists."""
        return 1 if self.lists is None else self.lists.counts.shape[1]


class BodyDomains(NamedTuple):
    """Where the first and the second convs of all groups run. Without lists they run everywhere."""

    first: LaunchDomain
    second: LaunchDomain


def body_domains(depth_map: Tensor | None, side: int, n_blocks: int, height: int, width: int) -> BodyDomains:
    """The domains of a batch; if positions are pixels, first convs run on the active set dilated by 3x3.

    depth_map: (N, G, ceil(H/side), ceil(W/side)) in blocks, None for full depth. n_blocks: of the longest group.
    """
    if depth_map is None:
        everywhere = LaunchDomain(height, width, side)
        return BodyDomains(everywhere, everywhere)
    depth_map = depth_map.float().contiguous()
    second = LaunchDomain(height, width, side, depth_map, sorted_lists(depth_map, n_blocks))
    if side > 1:
        return BodyDomains(second, second)
    dilated = F.max_pool2d(depth_map, 3, 1, 1)
    return BodyDomains(LaunchDomain(height, width, side, None, sorted_lists(dilated, n_blocks)), second)


def sorted_lists(depth_map: Tensor, n_blocks: int) -> Lists:
    """depth_map: (N, G, h, w), in blocks. One sort serves all blocks of a group."""
    needed = depth_map.flatten(2).clamp(0, n_blocks).ceil()
    keys, positions = torch.sort(-needed.to(torch.int16), dim=2, stable=True)
    levels = -torch.arange(n_blocks, dtype=torch.int16, device=keys.device)
    levels = levels.expand(*keys.shape[:2], n_blocks).contiguous()
    return Lists(positions.int(), torch.searchsorted(keys, levels, out_int32=True))


def lists_bytes(side: int, n_groups: int, height: int, width: int, batch: int) -> int:
    """Bytes that `body_domains` allocates: depth maps, lists, and the workspace of a sort."""
    positions = batch * n_groups * -(-height // side) * -(-width // side)
    maps = 1 if side > 1 else 2
    return positions * (maps * 8 + SORT_BYTES)
