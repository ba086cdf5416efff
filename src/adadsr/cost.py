"""Multiply-accumulates of the convolutions, part by part, counted from the modules that run; and the paper's counting.

`Cost` and `CostModel` say what a network costs. `paper_cost` repeats how the published figures were counted, only to
hold figures against those.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adadsr.models import Network, NetworkConfig


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of each part of a network."""

    head: int = 0
    adapter: int = 0
    body: int = 0
    tail: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return self.head + self.adapter + self.body + self.tail

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))


class CostModel:
    """What each part of a network costs on height x width LR pixels of one image, every block run everywhere.

    The modules run on torch's meta device, which computes shapes only.
    """

    def __init__(self, config: NetworkConfig) -> None:
        with torch.device("meta"):
            self._network = Network(config)
        self._part = lru_cache(maxsize=1024)(self._count)

    def head(self, height: int, width: int) -> Cost:
        """Cost of the head alone."""
        return Cost(head=self._part("head", height, width))

    def adapter(self, height: int, width: int) -> Cost:
        """Cost of the adapter alone; nothing where there is none."""
        return Cost() if self._network.adapter is None else Cost(adapter=self._part("adapter", height, width))

    def body(self, height: int, width: int) -> Cost:
        """Cost of the body alone."""
        return Cost(body=self._part("body", height, width))

    def tail(self, height: int, width: int) -> Cost:
        """Cost of the tail alone."""
        return Cost(tail=self._part("tail", height, width))

    def dense(self, height: int, width: int) -> Cost:
        """Cost of the dense network: head, body and tail, no adapter."""
        return self.head(height, width) + self.body(height, width) + self.tail(height, width)

    def _count(self, name: str, height: int, width: int) -> int:
        network = self._network
        channels = 3 if name == "head" else network.config.n_feats
        runs: dict[str, Callable[[Tensor], object]] = {
            "head": network.head,
            "adapter": lambda z0: network.predict_scores(z0, 1.0),
            "body": network.body,
            "tail": network.tail,
        }
        with FlopCounterMode(display=False) as counter:
            runs[name](torch.empty(1, channels, height, width, device="meta"))
        return int(counter.get_total_flops()) // 2


PAPER_GIGA = 2**30
"""What the published counting divides by."""
CHOP_OVERLAP = 10
CHOP_PIXELS = 160_000


@dataclass(frozen=True)
class PaperCost:
    """One image as the authors' published script counts it (docs/evaluation.md), in units of 2^30 operations.

    gflops: an operation is a multiply-accumulate of a conv, a bias, a ReLU, an addition or a moved value.
    dense_gflops: the same of the network without an adapter. mean_depth: mean of ceil(D), in blocks.
    """

    gflops: float
    dense_gflops: float
    mean_depth: float


def paper_cost(config: NetworkConfig, depth_map: npt.NDArray[np.floating[Any]], height: int, width: int) -> PaperCost:
    """The paper's own counting of one image (csmliu/AdaDSR, flops.py).

    The image is cut into four overlapping parts, these again while they are large. In each part both convs of a block
    count at the pixels where D > block, without the pixels around them that the second conv has to see; everything
    else counts everywhere. The adapter counts once. depth_map: (G, H, W) of pixels, in blocks, as `Upscaled` has it.
    """
    n_blocks = config.n_resblocks
    blocks_run = np.ceil(np.clip(depth_map, 0, n_blocks))
    executed = dense = 0
    for rows, columns in _chopped(slice(0, height), slice(0, width)):
        part = blocks_run[:, rows, columns]
        everywhere = _paper_fixed(config, part[0].size)
        executed += everywhere + 2 * int(part.sum()) * _conv_ops(config.n_feats, config.n_feats)
        dense += everywhere + 2 * part.size * n_blocks * _conv_ops(config.n_feats, config.n_feats)
    executed += _paper_adapter(config, height, width)
    return PaperCost(executed / PAPER_GIGA, dense / PAPER_GIGA, float(blocks_run.mean()))


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


def _paper_fixed(config: NetworkConfig, pixels: int) -> int:
    """Operations in a part of so many LR pixels beside the convs of the blocks."""
    c, blocks = config.n_feats, config.n_groups * config.n_resblocks
    closing = 1 if config.backbone == "edsr" else config.n_groups + 1
    ops = pixels * (_conv_ops(3, c) + 2 * c * blocks + closing * (_conv_ops(c, c) + c))
    if config.backbone == "rcan":
        middle = c // 16
        attention = _conv_ops(c, middle, 1) + _conv_ops(middle, c, 1) + 2 * middle
        ops += blocks * (2 * c * pixels + attention)
    # The script counts RCAN's enlarging convs with EDSR's 256 channels.
    wide = 4 * c if config.backbone == "rcan" else c
    for factor in {2: (2,), 3: (3,), 4: (2, 2)}[config.scale]:
        ops += pixels * (wide + _conv_ops(wide, wide * factor**2))
        pixels *= factor**2
    return ops + pixels * _conv_ops(c, 3)


def _paper_adapter(config: NetworkConfig, height: int, width: int) -> int:
    """Operations of the adapter; of a tile adapter, which the paper does not have, its multiply-accumulates."""
    if not config.adaptive:
        return 0
    if config.depth_tile > 1:
        return CostModel(config).adapter(height, width).total
    c = config.n_feats
    inner = c // 2 if config.backbone == "edsr" else c
    relu = 4 * inner if config.backbone == "edsr" else 8 * c  # the script counts AdaRCAN's with twice its channels
    convs = _conv_ops(c, inner) + 3 * _conv_ops(inner, inner) + _conv_ops(inner, config.n_groups)
    return height * width * (convs + relu)
