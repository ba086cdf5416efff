"""Lists of active positions, made where the depth map is: nothing here waits for the device."""

from typing import NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """The active positions of every block, image by image.

    positions: (N, G, P) int32, all positions of an image, the deepest first, those of one depth in raster order.
    counts: (N, G, B) int32. A block's active set is the first `counts` of `positions`, since active sets are nested.
    """

    positions: Tensor
    counts: Tensor


def sorted_lists(depth_map: Tensor, n_blocks: int) -> Lists:
    """depth_map: (N, G, h, w), in blocks. One sort serves all blocks of a group."""
    needed = depth_map.flatten(2).clamp(0, n_blocks).ceil()
    keys, positions = torch.sort(-needed.to(torch.int16), dim=2, stable=True)
    levels = -torch.arange(n_blocks, dtype=torch.int16, device=keys.device)
    levels = levels.expand(*keys.shape[:2], n_blocks).contiguous()
    return Lists(positions.int(), torch.searchsorted(keys, levels, out_int32=True))
