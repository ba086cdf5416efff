"""Training losses."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from adadsr.metrics import BT601
from adadsr.tensor_ops import OPS

TYPICAL_ERROR = 40.0
"""Squared levels of Y; a tile with this error has a deviance of about 4."""
GRADIENT_WEIGHT = 0.5
"""Of the differences between adjacent pixels in the loss `texture`."""
WHITE = 255.0
LEAST_ERROR = 0.02
"""Squared levels of Y that rounding to 8 bits adds or removes at least."""
INVISIBLE_ERROR = 1.0
"""Squared levels: the loss `decibels` hardly tells smaller errors apart."""
SMALL_ERROR = 4.0
"""Squared levels: the same for `image_decibels`, where single patches of plain sky would decide otherwise."""


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference in 0..255 units; both (N, 3, H, W)."""
    return (sr - hr).abs().mean()


def l2(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared difference in 0..255 units, which PSNR measures; both (N, 3, H, W)."""
    return (sr - hr).square().mean()


def decibels(sr: Tensor, hr: Tensor, mean: Callable[[Tensor], Tensor] = lambda value: value) -> Tensor:
    """Mean squared difference of all images together, in decibels; both (N, 3, H, W) in 0..255.

    An error half as large counts as much where the error is small already as where it is large, as in PSNR. With `l2`
    the first blocks, whose errors are several times those of the last, decide nearly all of a step at several depths.
    mean: over all processes that share a batch. The mean of their gradients is then that of the whole batch.
    """
    error = l2(sr, hr) + INVISIBLE_ERROR
    common = mean(error.detach().clone())
    return 10 * (common.log10() + (error - error.detach()) / (common * math.log(10)))


def image_decibels(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean over images of their mean squared difference in decibels, as a mean PSNR is; both (N, 3, H, W) in 0..255.

    Smooth images and sharp edges on plain ground count as much as texture, whose errors are a hundred times theirs.
    """
    return 10 * ((sr - hr).square().mean(dim=(1, 2, 3)) + SMALL_ERROR).log10().mean()


def texture(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 of pixels plus GRADIENT_WEIGHT times that of the differences between adjacent pixels; both (N, 3, H, W).

    The differences keep texture sharp where its mean would have the smaller L1. Values beyond 0..255 count as 0 or 255
    where HR is 0 or 255: a picture shows no difference there.
    """
    beyond = ((hr <= 0) & (sr < 0)) | ((hr >= WHITE) & (sr > WHITE))
    error = (sr - hr).masked_fill(beyond, 0)
    down, right = error[..., 1:, :] - error[..., :-1, :], error[..., 1:] - error[..., :-1]
    return error.abs().mean() + GRADIENT_WEIGHT * (down.abs().mean() + right.abs().mean())


LOSSES = {"l1": l1, "l2": l2, "decibels": decibels, "image_decibels": image_decibels, "texture": texture}
"""Name in a recipe -> distance between images."""


def depth_excess(depth_map: Tensor, desired_depth: Tensor) -> Tensor:
    """Excess of the mean depth over the desired depth, averaged over the batch (arXiv:2004.03915, eq. 10).

    depth_map: (N, G, h, w), in blocks. desired_depth: (N,), in blocks. A mean below the desired depth is not penalised.
    """
    return (depth_map.mean(dim=(1, 2, 3)) - desired_depth).clamp_min(0).mean()


def tile_errors(sr: Tensor, hr: Tensor, tile: int) -> Tensor:
    """Mean squared difference in Y of each tile, (N, 1, h, w), in squared levels of 0..255.

    sr, hr: (N, 3, H, W) in 0..255. tile: side in SR pixels. Pixels beyond the last whole tile are ignored.
    """
    return F.avg_pool2d(((sr - hr) * OPS.per_channel(sr, BT601.tolist())).sum(dim=1, keepdim=True).square(), tile)


def error_deviance(predicted: Tensor, error: Tensor) -> Tensor:
    """Tweedie deviance of power 1.5 between predicted and real errors of tiles, without its constant part.

    It is least if predictions are the conditional means of errors, which is what sums of errors need. A gamma deviance
    (power 2) would be, too, but forgives predictions that are far too large, and one of them spoils a sum.
    predicted, error: the same shape, in squared levels, above 0.
    """
    predicted, error = predicted / TYPICAL_ERROR, error.clamp_min(LEAST_ERROR) / TYPICAL_ERROR
    root = predicted.clamp_min(1e-12).sqrt()
    return 2 * (error / root + root).mean()
