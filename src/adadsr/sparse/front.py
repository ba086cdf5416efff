"""Head and adapter as plain tensors: what a backend gets to run before the body, and their dense definition."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from adadsr.sparse.body import Conv


class Head(NamedTuple):
    """A 3x3 conv of an image less its mean colour, (1, C, 1, 1)."""

    mean: Tensor
    conv: Conv


class Activated(NamedTuple):
    """PReLU with one slope, (1,), then a 3x3 conv."""

    slope: Tensor
    conv: Conv


class Adapter(NamedTuple):
    """From features and a desired depth to scores.

    first: a 3x3 conv, or where `tile` is above 1 one of whole tiles: tile x tile pixels, with that stride.
    input_times_depth, output_times_depth: what the desired depth multiplies.
    """

    first: Conv
    rest: tuple[Activated, ...]
    tile: int = 1
    input_times_depth: bool = False
    output_times_depth: bool = False


class Front(NamedTuple):
    """What comes before a body; a network without an adapter runs at full depth only."""

    head: Head
    adapter: Adapter | None


class FrontRun(NamedTuple):
    """z0: (N, C, H, W). scores: (N, G, ceil(H/t), ceil(W/t)), None where none were asked for."""

    z0: Tensor
    scores: Tensor | None


RunFront = Callable[[Tensor, Tensor | None], FrontRun]
"""From an LR image (N, 3, H, W) in 0..255 and a desired depth (N,), in blocks; None for no scores."""


def run_front(front: Front, lr: Tensor, desired_depth: Tensor | None = None) -> FrontRun:
    """Head, and where a desired depth is given the adapter, which the front then has to have. Differentiable."""
    z0 = run_head(front.head, lr)
    if desired_depth is None:
        return FrontRun(z0, None)
    assert front.adapter is not None
    return FrontRun(z0, run_adapter(front.adapter, z0, desired_depth))


def run_head(head: Head, lr: Tensor) -> Tensor:
    """(N, 3, H, W) in 0..255 -> z0, (N, C, H, W)."""
    return F.conv2d(lr - head.mean, *head.conv, padding=1)


def run_adapter(adapter: Adapter, z0: Tensor, desired_depth: Tensor) -> Tensor:
    """z0: (N, C, H, W). desired_depth: (N,), in blocks. Returns scores (N, G, ceil(H/t), ceil(W/t)), real numbers."""
    per_image = desired_depth.view(-1, 1, 1, 1)
    x = z0 * per_image if adapter.input_times_depth else z0
    if adapter.tile > 1:
        # Tiles that hang over the border see the border repeated, not zeros, which would look like an edge.
        overhang = (0, -x.shape[-1] % adapter.tile, 0, -x.shape[-2] % adapter.tile)
        x = F.conv2d(F.pad(x, overhang, mode="replicate"), *adapter.first, stride=adapter.tile)
    else:
        x = F.conv2d(x, *adapter.first, padding=1)
    for activated in adapter.rest:
        x = F.conv2d(F.prelu(x, activated.slope), *activated.conv, padding=1)
    return x * per_image if adapter.output_times_depth else x
