"""Training losses."""

from torch import Tensor


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference in 0..255 units; both (N, 3, H, W)."""
    return (sr - hr).abs().mean()


def l2(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared difference in 0..255 units, which PSNR measures; both (N, 3, H, W)."""
    return (sr - hr).square().mean()


LOSSES = {"l1": l1, "l2": l2}
"""Name in a recipe -> distance between images."""


def depth_excess(depth_map: Tensor, desired_depth: Tensor) -> Tensor:
    """Excess of the mean depth over the desired depth, averaged over the batch (arXiv:2004.03915, eq. 10).

    depth_map: (N, G, h, w), in blocks. desired_depth: (N,), in blocks. A mean below the desired depth is not penalised.
    """
    return (depth_map.mean(dim=(1, 2, 3)) - desired_depth).clamp_min(0).mean()
