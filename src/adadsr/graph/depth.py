"""Gates and active sets of a depth map. A map is (N, G, h, w), in blocks; h and w count tiles or pixels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr.graph.ops import Array

DepthMap = npt.NDArray[np.floating[Any]]


def gate(depth_map: Array, block: int) -> Array:
    """Weight of block `block` at each position (arXiv:2004.03915, eq. 4); the same shape, in [0, 1].

    The gates of all blocks at a position sum to its depth. depth_map: in blocks, >= 0.
    """
    return (depth_map - block).clip(0, 1)


def expand_tiles(depth_map: DepthMap, depth_tile: int, height: int, width: int) -> DepthMap:
    """The depth of each pixel: (..., ceil(H/t), ceil(W/t)) -> (..., H, W)."""
    if depth_tile == 1:
        return depth_map
    return depth_map.repeat(depth_tile, -2).repeat(depth_tile, -1)[..., :height, :width]


def dilate(depth_map: DepthMap, reach: int = 1) -> DepthMap:
    """The largest depth, or other value, within `reach` positions in either direction; the same shape.

    `dilate(depth_map) > block` is the active set of `block` dilated by 3x3.
    """
    for axis in (-2, -1):
        size = depth_map.shape[axis]
        dilated = depth_map.copy()
        for step in range(1, min(reach, size - 1) + 1):
            for towards, away in ((slice(step, None), slice(size - step)), (slice(size - step), slice(step, None))):
                part = dilated[..., towards, :] if axis == -2 else dilated[..., towards]
                other = depth_map[..., away, :] if axis == -2 else depth_map[..., away]
                np.maximum(part, other, out=part)
        depth_map = dilated
    return depth_map


def mean_around(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean over 3x3 positions, those at the border repeated; the same shape."""
    rows = np.concatenate([values[..., :1, :], values, values[..., -1:, :]], axis=-2)
    sums = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    columns = np.concatenate([sums[..., :1], sums, sums[..., -1:]], axis=-1)
    mean: npt.NDArray[np.float32] = (columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]) * np.float32(1 / 9)
    return mean


def active_counts(depth_map: DepthMap, n_blocks: int) -> npt.NDArray[np.int64]:
    """Sizes of the active sets of blocks 0 .. n_blocks - 1, summed over the map: (n_blocks,)."""
    needed = np.ceil(depth_map.clip(0, n_blocks)).astype(np.int64)
    reached = np.bincount(needed.ravel(), minlength=n_blocks + 1)
    return np.asarray(reached[::-1].cumsum()[::-1][1:], np.int64)


def mean_depth(depth_map: DepthMap, n_blocks: int) -> float:
    """Mean number of blocks over groups and positions; a fraction counts as a fraction."""
    return float(depth_map.clip(0, n_blocks).mean(dtype=np.float64))
