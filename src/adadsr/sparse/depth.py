"""From a depth map to what runs: gates, active sets, tiles and their sizes (arXiv:2004.03915, section 3).

A depth map holds, for every group of the body and every tile of `depth_tile` x `depth_tile` pixels, the number of
residual blocks to run there: (N, G, ceil(H / depth_tile), ceil(W / depth_tile)), >= 0, in blocks.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def gate(depth_map: Tensor, block: int) -> Tensor:
    """Weight of block `block` at each position (arXiv:2004.03915, eq. 4).

    depth_map: any shape, in blocks, >= 0. Returns the same shape in [0, 1]: 1 below the depth, a fraction at the
    last block, 0 above. Over all blocks the gates of a position add up to its depth.
    """
    return (depth_map - block).clamp(0, 1)


def expand_tiles(depth_map: Tensor, depth_tile: int, height: int, width: int) -> Tensor:
    """The depth of each pixel: (N, G, ceil(H/t), ceil(W/t)) -> (N, G, H, W)."""
    if depth_tile == 1:
        return depth_map
    pixels = depth_map.repeat_interleave(depth_tile, -2).repeat_interleave(depth_tile, -1)
    return pixels[..., :height, :width]


def dilate(depth_map: Tensor) -> Tensor:
    """The largest depth in the 3x3 neighbourhood of each pixel; (N, G, H, W) -> the same shape.

    `dilate(depth_map) > block` is the active set of `block` dilated by 3x3.
    """
    return F.max_pool2d(depth_map, kernel_size=3, stride=1, padding=1)


def conv_positions(depth_map: Tensor, depth_tile: int, n_blocks: int, height: int, width: int) -> int:
    """Pixels at which the 3x3 convs of the blocks run, summed over both convs, all blocks and images.

    depth_map: (N, 1, ceil(H/t), ceil(W/t)), in blocks. Tiles count whole, also where they hang over the image, except
    in blocks that are active everywhere in the batch, which run densely.
    """
    second = _active(depth_map, n_blocks)
    if depth_tile == 1:
        return second + _active(dilate(depth_map), n_blocks)
    hanging = depth_map[0, 0].numel() * depth_tile**2 - height * width
    everywhere = int(depth_map.amin().ceil().clamp(0, n_blocks))
    return 2 * (second * depth_tile**2 - everywhere * len(depth_map) * hanging)


def _active(depth_map: Tensor, n_blocks: int) -> int:
    """Sizes of the active sets, summed over blocks: the sum of min(ceil(depth), n_blocks)."""
    return int(depth_map.ceil().clamp(0, n_blocks).sum(dtype=torch.float64))


def mean_depth(depth_map: Tensor, n_blocks: int) -> float:
    """Mean number of blocks over groups and positions, a fraction counted as a fraction; (N, G, h, w), in blocks."""
    return float(depth_map.clamp(0, n_blocks).mean(dtype=torch.float64))
