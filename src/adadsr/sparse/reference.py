"""The dense definition of the gated body and of the tail. Training runs it, every backend is tested against it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.sparse.body import Attention, Block, Body, Conv, Tail
from adadsr.sparse.depth import expand_tiles, gate


def run_reference(body: Body, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
    """All groups, all blocks, everywhere, times the gates. Differentiable.

    z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for full depth. Returns
    (N, C, H, W).
    """
    if depth_map is not None:
        depth_map = expand_tiles(depth_map, body.depth_tile, *z0.shape[-2:])
    z = z0
    for index, group in enumerate(body.groups):
        start = z
        for number, block in enumerate(group.blocks):
            weight = None if depth_map is None else gate(depth_map[:, index : index + 1], number)
            z = run_block(block, z, weight, tile_mask=body.depth_tile > 1)
        if group.conv is not None:
            z = conv(z, group.conv) + start
    return conv(z, body.conv) + z0


def run_block(block: Block, x: Tensor, weight: Tensor | None, *, tile_mask: bool) -> Tensor:
    """One step of depth. x: (N, C, H, W). weight: the block's gate, (N, 1, H, W), None for 1 everywhere."""
    hidden = F.relu(conv(x, block.conv1))
    if weight is not None and tile_mask:
        hidden = hidden * (weight > 0)
    update = conv(hidden, block.conv2)
    if weight is not None:
        update = update * weight
        if x.dtype == block.conv2.weight.dtype:  # a gate in float32 widens no features that are half throughout
            update = update.to(x.dtype)
    if block.attention is not None:
        mean = update.mean(dim=(2, 3), dtype=torch.promote_types(update.dtype, torch.float32))
        update = update * attention_scale(block.attention, mean)[..., None, None].to(update.dtype)
    return x + update


def attention_scale(attention: Attention, mean: Tensor) -> Tensor:
    """Weight of each channel in (0, 1), from the channels' means over the whole image; (N, C) -> (N, C)."""
    mean = mean.to(attention.squeeze.weight.dtype)
    squeezed = F.relu(F.linear(mean, attention.squeeze.weight.flatten(1), attention.squeeze.bias))
    return torch.sigmoid(F.linear(squeezed, attention.excite.weight.flatten(1), attention.excite.bias))


def run_tail(tail: Tail, z: Tensor) -> Tensor:
    """Features to an enlarged image; (N, C, H, W) -> (N, C', s*H, s*W), s being the product of the factors."""
    for weights, factor in zip(tail.convs, tail.factors, strict=True):
        z = F.pixel_shuffle(conv(z, weights), factor)
    return conv(z, tail.last)


def conv(x: Tensor, weights: Conv) -> Tensor:
    """3x3 convolution with zero padding; (N, C, H, W) -> (N, C', H, W)."""
    return F.conv2d(x, weights.weight, weights.bias, padding=1)
