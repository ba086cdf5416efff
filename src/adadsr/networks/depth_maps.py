"""From scores to depths in torch, differentiable: `graph.calibration` for training.

The shift that meets a desired depth is found by bisection and then given the gradient of the implicit function: if all
scores of an image rise together, the shift falls by as much, so training moves depth between tiles, never the mean.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import AdapterWeights
from adadsr.graph.calibration import DEPTH_STEPS, SATURATION, TileDepths


def depths_at(adapter: AdapterWeights, scores: Tensor, desired_depth: Tensor, n_blocks: int) -> Tensor:
    """The depth map for an adapter's scores, both (N, G, h, w), at a desired depth (N,), in blocks.

    The scores of published adapters already include the desired depth; with the others each image's mean depth equals
    it exactly.
    """
    if adapter.tile == 1:
        return F.relu(scores)
    return tile_depths(scores, mean_shift(scores, desired_depth, n_blocks), n_blocks)


def tile_depths(scores: Tensor, shift: Tensor, n_blocks: int) -> Tensor:
    """Depths of scores raised by `shift`; see `calibration.TileDepths`."""
    depths: Tensor = TileDepths(n_blocks).stretched(torch.sigmoid(scores + shift))
    return depths


def mean_shift(scores: Tensor, desired_depth: Tensor, n_blocks: int) -> Tensor:
    """Shift of each sample, (N, 1, 1, 1), at which its mean depth is the desired one. scores: (N, G, h, w)."""
    target = desired_depth.view(-1, 1, 1, 1)
    with torch.no_grad():
        low = -scores.amax(dim=(1, 2, 3), keepdim=True) - SATURATION
        high = SATURATION - scores.amin(dim=(1, 2, 3), keepdim=True)
        for _ in range(DEPTH_STEPS):
            middle = (low + high) / 2
            below = tile_depths(scores, middle, n_blocks).mean(dim=(1, 2, 3), keepdim=True) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        weight = _slopes(scores, high, n_blocks)
    follow = (weight * scores).sum(dim=(1, 2, 3), keepdim=True)
    return high - (follow - follow.detach())


def _slopes(scores: Tensor, shift: Tensor, n_blocks: int) -> Tensor:
    """How much each depth moves with the shift, normalised to sum 1; 0 where a depth is clipped."""
    depths = tile_depths(scores, shift, n_blocks)
    share = torch.sigmoid(scores + shift)
    slopes = share * (1 - share) * ((depths > 0) & (depths < n_blocks))
    return slopes / slopes.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
