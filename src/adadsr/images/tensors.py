"""Picture <-> tensors, and the colour under transparent pixels."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adadsr.errors import InputError
from adadsr.images.picture import Picture

_STRIP_SAMPLES = 1 << 22  # samples converted at a time, so that no second whole float copy is needed


class Planes(NamedTuple):
    """color: (1, 3, H, W) float32 in 0..255. alpha: (1, 1, H, W) float32 in 0..255, or None."""

    color: Tensor
    alpha: Tensor | None


def to_tensor(picture: Picture) -> Planes:
    """Planes of `picture` on the CPU; the largest sample is 255, so a 16-bit sample v becomes v / 257.

    Gray becomes three equal channels. Colour under transparent pixels is left as it is; see `bleed_color`.
    """
    samples = picture.pixels.transpose(2, 0, 1)
    color = np.empty((1, 3, picture.height, picture.width), np.float32)
    color[0] = samples[:1] if picture.is_gray else samples[:3]
    alpha = samples[None, -1:].astype(np.float32) if picture.has_alpha else None
    if picture.bits == 16:
        color /= 257
        if alpha is not None:
            alpha /= 257
    return Planes(torch.from_numpy(color), None if alpha is None else torch.from_numpy(alpha))


def from_tensor(color: Tensor, alpha: Tensor | None, like: Picture) -> Picture:
    """The picture of these planes, at the bit depth of `like`, with its metadata; the inverse of `to_tensor`.

    color: (1, 3, H, W); alpha: (1, 1, H, W) where `like` has alpha, else None; both floating, any device,
    clipped to 0..255 and rounded to the nearest sample. Where `like` is gray the mean of the three channels
    is taken (of three equally noisy estimates of one value the mean errs least).
    Raises InputError for another shape or type, a missing or surplus alpha, and NaN or inf.
    """
    _check_planes(color, alpha)
    if (alpha is not None) != like.has_alpha:
        given, expected = ("no alpha", "with") if alpha is None else ("alpha", "without")
        raise InputError(f"{given} was given for a picture {expected} alpha; alpha has to follow the picture")
    _, _, height, width = color.shape
    channels = like.pixels.shape[2]
    pixels = np.empty((height, width, channels), like.pixels.dtype)
    rows = max(1, _STRIP_SAMPLES // width)
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        colors = color[0, :, strip].detach().to("cpu", torch.float32)
        planes = [colors.mean(0, keepdim=True) if like.is_gray else colors]
        if alpha is not None:
            planes.append(alpha[0, :, strip].detach().to("cpu", torch.float32))
        for first, plane in zip((0, channels - 1), planes, strict=False):
            out = pixels[strip, :, first : first + len(plane)]
            out[...] = _samples(plane, like.bits).permute(1, 2, 0).numpy()
    return Picture(pixels, like.icc_profile, like.exif, like.xmp, like.dpi)


def bleed_color(color: Tensor, alpha: Tensor) -> Tensor:
    """Fill the colour of fully transparent pixels from the visible ones nearby.

    What lies under alpha = 0 is arbitrary (mostly black), and any filter that looks across the edge pulls it
    into view as a fringe. Push-pull: averages weighted by alpha over ever larger squares, then each pixel
    without colour takes the finest average that has one (Gortler et al., The Lumigraph, 1996, section 3.4).

    color: (N, 3, H, W); alpha: (N, 1, H, W), 0..255. Returns (N, 3, H, W), equal to color where alpha > 0,
    and where no pixel is visible at all. Raises InputError where the shapes do not fit.
    """
    if color.ndim != 4 or alpha.shape != (color.shape[0], 1, *color.shape[2:]):
        raise InputError(
            f"colour of shape {tuple(color.shape)} and alpha of shape {tuple(alpha.shape)} were given; "
            "(N, 3, H, W) and (N, 1, H, W) are allowed"
        )
    hidden = alpha <= 0
    if not bool(hidden.any()) or bool(hidden.all()):
        return color
    return torch.where(hidden, _filled(color, alpha / 255), color)


def _filled(color: Tensor, weight: Tensor) -> Tensor:
    """One level of push-pull: `color` (N,3,H,W) with weight 0 replaced by the average one level coarser."""
    height, width = color.shape[2:]
    if height == width == 1:
        return color
    # Divisor 4 also at an odd border: only the ratio of the two sums counts.
    weighted = functional.avg_pool2d(color * weight, 2, ceil_mode=True, divisor_override=4)
    coarse_weight = functional.avg_pool2d(weight, 2, ceil_mode=True, divisor_override=4)
    average = weighted / coarse_weight.clamp_min(torch.finfo(weight.dtype).tiny)
    pulled = _filled(average, coarse_weight).repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :height, :width]
    return torch.where(weight > 0, color, pulled)


def _check_planes(color: Tensor, alpha: Tensor | None) -> None:
    if color.ndim != 4 or color.shape[:2] != (1, 3) or 0 in color.shape:
        raise InputError(f"colour of shape {tuple(color.shape)} was given; (1, 3, height, width) is allowed")
    if alpha is not None and alpha.shape != (1, 1, *color.shape[2:]):
        raise InputError(
            f"alpha of shape {tuple(alpha.shape)} was given; {(1, 1, *color.shape[2:])} is allowed beside this colour"
        )
    for plane in (color, alpha):
        if plane is not None and not plane.is_floating_point():
            raise InputError(f"a tensor of type {plane.dtype} was given; floating point in 0..255 is allowed")


def _samples(plane: Tensor, bits: int) -> Tensor:
    """Planes (C, H, W) in 0..255 as integers of `bits`, int32."""
    if not bool(torch.isfinite(plane).all()):
        raise InputError("the tensor holds NaN or inf; finite values are allowed; check the weights and the input")
    return plane.mul(257 if bits == 16 else 1).round().clamp(0, 2**bits - 1).to(torch.int32)
