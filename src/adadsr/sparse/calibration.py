"""Meeting a cost: the one depth map of a family whose cost is the wanted one."""

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 40
"""Halvings of the interval of shifts; enough to reach the resolution of float32."""


def calibrate(
    depth_at: Callable[[float], Tensor],
    bounds: tuple[float, float],
    cost: Callable[[Tensor], float],
    target: float,
    tolerance: float,
) -> Tensor:
    """The deepest map of a family that costs at most `target`.

    depth_at: shift -> depth map, non-decreasing in the shift at every position. bounds: a shift whose map costs at
    most `target`, and a larger one. cost: non-decreasing along the family. Where many positions are equal, as in flat
    images, the cost jumps by more than `tolerance` at one shift; then a part of them, in raster order, goes deeper.
    """
    low, high = bounds
    if cost(depth_at(high)) <= target:
        return depth_at(high)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if cost(depth_at(middle)) <= target:
            low = middle
        else:
            high = middle
    depth_map = depth_at(low)
    if target - cost(depth_map) <= tolerance:
        return depth_map
    deep = depth_at(high)
    # As deep as the same cost allows: just beyond a whole number a block would run with a gate of almost 0.
    return _break_ties(depth_map, torch.where(deep.ceil() > depth_map.ceil(), deep.ceil(), depth_map), cost, target)


def _break_ties(shallow: Tensor, deep: Tensor, cost: Callable[[Tensor], float], target: float) -> Tensor:
    """`deep` at the first positions in raster order and `shallow` at the others, as many as `target` allows.

    A run of rows has the shortest border, and the border is what a dilated active set pays for.
    """
    order = torch.arange(shallow[0, 0].numel(), device=shallow.device).view(shallow.shape[-2:])
    low, high = 0, order.numel()
    while high - low > 1:
        middle = (low + high) // 2
        if cost(torch.where(order < middle, deep, shallow)) <= target:
            low = middle
        else:
            high = middle
    return torch.where(order < low, deep, shallow)
