"""How the convs of a body are run: how `conv_kernel` cuts its work, and where cuDNN's dense conv is the faster one."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from adadsr.sparse.lists import Lists
from adadsr.sparse.triton_launch import INTERPRETED, Blocking, Epilogue, Sites, Weights, conv_at, dense_conv
from adadsr.sparse.tuning import Choice, Trial, Tuner, time_on_device

WIDE = (
    Blocking(128, 256, 64, 8, 3, 1, True),
    Blocking(128, 256, 64, 8, 4, 1, False),
    Blocking(128, 128, 64, 8, 3, 1, True),
    Blocking(128, 128, 64, 8, 4, 1, False),
    Blocking(64, 128, 64, 4, 4, 2, False),
)
"""Ways to cut a conv of more than 64 output channels of two bytes."""
NARROW = (
    Blocking(128, 64, 64, 4, 3, 2, True),
    Blocking(128, 64, 64, 4, 4, 2, False),
    Blocking(256, 64, 64, 8, 3, 1, True),
    Blocking(64, 64, 64, 4, 3, 4, True),
    Blocking(64, 64, 64, 4, 4, 3, False),
)
"""The same of at most 64."""
INTERPRETABLE = Blocking(1024, 256, 256, 1, 1, 1, False)
"""For the interpreter, to which all steps take about as long."""
MEASURED_PIXELS = 2**20
"""Pixels of the images that are measured, at most."""
PATCH = 16
"""Side in pixels of the patches that are active together in what is measured: depth maps are smooth."""

CHOICES: Tuner[Blocking] = Tuner(None if INTERPRETED else time_on_device, (triton.OutOfResources,))
"""The choices of this process; `CHOICES.forget()` measures again."""


class Layer(NamedTuple):
    """A kind of conv. epilogue: what follows it. clear: see `triton_launch.conv_at`."""

    epilogue: Epilogue
    clear: bool = False


def ways(weights: Weights) -> list[Blocking]:
    """The ways to cut a conv that compete. Numbers of four bytes are taken half as many at a time."""
    if INTERPRETED:
        return [INTERPRETABLE]
    candidates = WIDE if len(weights.bias) > 64 else NARROW
    if weights.weight.element_size() == 2:
        return list(candidates)
    return [way._replace(depth=way.depth // 2) for way in candidates]


def choose(
    tuner: Tuner[Blocking], weights: Weights, layer: Layer, images: Tensor, sites: Sites, precision: str
) -> Choice[Blocking]:
    """The choice for a conv on images (N, C, H, W); measured where there is none for such a conv and so many pixels."""
    size = (images.shape[0] * images.shape[2] * images.shape[3]).bit_length()
    kind = (str(images.device), images.dtype, precision, tuple(weights.weight.shape), layer, sites.side, size)
    return tuner.choice(kind, partial(_trial, weights, layer, images, sites.side, precision))


def _trial(weights: Weights, layer: Layer, images: Tensor, side: int, precision: str) -> Trial[Blocking]:
    """A conv on noise of the size of `images`, or less, active in patches."""
    batch, _, height, width = images.shape
    height = max(side, min(height, MEASURED_PIXELS // (batch * width)))
    source = torch.randn(batch, images.shape[1], height, width, dtype=images.dtype, device=images.device)
    source = source.contiguous(memory_format=torch.channels_last)
    out = source.new_zeros(batch, len(weights.bias), height, width).contiguous(memory_format=torch.channels_last)
    plain = Sites(height, width, side)
    order = _patches(plain, batch, images.device)

    def at_share(share: float) -> Sites:
        active = max(1, round(share * plain.positions))
        depth_map = torch.zeros_like(order, dtype=torch.float32).scatter_(2, order[..., :active], 1.0)
        counts = torch.full((batch, 1, 1), active, dtype=torch.int32, device=images.device)
        return Sites(height, width, side, depth_map, Lists(order.int(), counts))

    def sparse(way: Blocking, share: float) -> Callable[[], None]:
        return partial(
            conv_at,
            source,
            weights,
            out,
            at_share(share),
            0,
            way,
            layer.epilogue,
            precision=precision,
            clear=layer.clear,
        )

    def dense() -> None:
        dense_conv(source, weights, out, everywhere, 0, layer.epilogue)

    everywhere = at_share(1.0)
    return Trial(ways(weights), sparse, dense)


def _patches(sites: Sites, batch: int, device: torch.device) -> Tensor:
    """All positions of images, patch by patch in random order: (N, 1, P) int64."""
    unit, rows = max(1, PATCH // sites.side), sites.positions // sites.columns
    noise = torch.rand(batch, -(-rows // unit), -(-sites.columns // unit), device=device)
    noise = noise.repeat_interleave(unit, 1).repeat_interleave(unit, 2)[:, :rows, : sites.columns]
    return torch.sort(noise.flatten(1), dim=1, stable=True).indices[:, None]
