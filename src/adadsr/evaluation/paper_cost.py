"""The paper's own counting, to compare with its figures; what a network really costs is `graph.price`.

Source: csmliu/AdaDSR, flops.py. docs/evaluation.md describes the rule.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.networks import NetworkConfig, tensor_shapes
from adadsr.networks.layouts import upscale_factors

GIGA = 2**30
"""What the script divides by."""
CHOP_OVERLAP = 10
CHOP_PIXELS = 160_000


class PaperCost(NamedTuple):
    """One image as the authors' script counts it, in units of 2^30 operations; None for a network not of the paper.

    gflops: an operation is a multiply-accumulate of a conv, a bias, a ReLU, an addition or a moved value.
    dense_gflops: the same of the network without an adapter. mean_depth: mean of ceil(D), in blocks.
    """

    gflops: float | None = None
    dense_gflops: float | None = None
    mean_depth: float | None = None


class _Rule(NamedTuple):
    """How the script counts a backbone.

    has_attention: channel attention in the blocks, and a conv that closes each group. upsampling: input channels of
    the upsampling convs over C; the script counts RCAN's with EDSR's 256. adapter: inner channels of the adapter over
    C. adapter_relus: channels of its ReLUs over the inner ones; the script counts AdaRCAN's twice.
    """

    has_attention: bool
    upsampling: int
    adapter: float
    adapter_relus: int


RULES = {"edsr": _Rule(False, 1, 1 / 2, 1), "rcan": _Rule(True, 4, 1, 2)}
"""Backbone -> rule, for the backbones of the paper."""


def paper_cost(config: NetworkConfig, depth_map: npt.NDArray[np.floating[Any]]) -> PaperCost:
    """Count one image. depth_map: (G, H, W) of LR pixels, in blocks, as `Upscaled` has it.

    The image is cut into four overlapping parts, these again while they are large. In each part both convs of a block
    count at the pixels where D > block, without the pixels around them that the second conv has to see; everything
    else counts everywhere. The adapter counts once.
    """
    if config.backbone not in RULES:
        return PaperCost()
    rule, (_, height, width) = RULES[config.backbone], depth_map.shape
    blocks_run = np.ceil(np.clip(depth_map, 0, config.n_resblocks))
    block_ops = 2 * _conv_ops(config.n_feats, config.n_feats)
    executed = dense = 0
    for rows, columns in _chopped(slice(0, height), slice(0, width)):
        part = blocks_run[:, rows, columns]
        fixed = _fixed_ops(config, rule, part[0].size)
        executed += fixed + int(part.sum()) * block_ops
        dense += fixed + part.size * config.n_resblocks * block_ops
    executed += _adapter_ops(config, rule, height, width)
    return PaperCost(executed / GIGA, dense / GIGA, float(blocks_run.mean()))


def _chopped(rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
    """The four overlapping parts of a rectangle, in turn cut up while they have CHOP_PIXELS or more."""
    for part_rows, part_columns in product(_halves(rows), _halves(columns)):
        if (part_rows.stop - part_rows.start) * (part_columns.stop - part_columns.start) < CHOP_PIXELS:
            yield part_rows, part_columns
        else:
            yield from _chopped(part_rows, part_columns)


def _halves(axis: slice) -> tuple[slice, slice]:
    """The first and the last half of an axis, each CHOP_OVERLAP longer than a half."""
    size = axis.stop - axis.start
    half = min(size, size // 2 + CHOP_OVERLAP)
    return slice(axis.start, axis.start + half), slice(axis.stop - half, axis.stop)


def _conv_ops(in_channels: int, out_channels: int, kernel: int = 3) -> int:
    """Operations of a conv at one pixel, its bias included."""
    return (kernel * kernel * in_channels + 1) * out_channels


def _fixed_ops(config: NetworkConfig, rule: _Rule, pixels: int) -> int:
    """Operations outside the convs of the blocks in a part of `pixels` LR pixels."""
    c, blocks = config.n_feats, config.n_groups * config.n_resblocks
    closing = 1 + (config.n_groups if rule.has_attention else 0)
    ops = pixels * (_conv_ops(3, c) + 2 * c * blocks + closing * (_conv_ops(c, c) + c))
    if rule.has_attention:
        middle = c // 16
        attention = _conv_ops(c, middle, 1) + _conv_ops(middle, c, 1) + 2 * middle
        ops += blocks * (2 * c * pixels + attention)
    wide = rule.upsampling * c
    for factor in upscale_factors(config.scale):
        ops += pixels * (wide + _conv_ops(wide, wide * factor**2))
        pixels *= factor**2
    return ops + pixels * _conv_ops(c, 3)


def _adapter_ops(config: NetworkConfig, rule: _Rule, height: int, width: int) -> int:
    """Operations of the adapter; of a tile adapter, which the paper does not have, its multiply-accumulates."""
    if not config.adaptive:
        return 0
    if config.depth_tile > 1:
        shapes = tensor_shapes(config).items()
        macs = sum(math.prod(shape) for name, shape in shapes if name.startswith("adapter.") and len(shape) == 4)
        return -(-height // config.depth_tile) * -(-width // config.depth_tile) * macs
    c, inner = config.n_feats, int(config.n_feats * rule.adapter)
    convs = _conv_ops(c, inner) + 3 * _conv_ops(inner, inner) + _conv_ops(inner, config.n_groups)
    return height * width * (convs + 4 * rule.adapter_relus * inner)
