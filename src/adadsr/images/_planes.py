"""Picture <-> planes of floats, and the colour under transparent pixels."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.images._picture import Picture, Pixels

Plane = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]

_BAND_SAMPLES = 1 << 17  # converted at a time: avoids a second float copy of the picture, and the band stays in cache
_SIXTEEN_BIT_STEP = 257  # 65535 / 255


class Planes(NamedTuple):
    """color: (H, W, 3) float32 in 0..255, C-contiguous. alpha: (H, W) float32 in 0..255, or None."""

    color: Plane
    alpha: Plane | None


def to_planes(picture: Picture) -> Planes:
    """Convert a picture to floats in 0..255: a 16-bit sample v becomes v / 257.

    Gray becomes three equal channels. Colour under transparent pixels is left as it is; see `bleed_color`.
    """
    pixels = picture.pixels
    color = np.empty((picture.height, picture.width, 3), np.float32)
    for channel in range(3):  # one at a time, since numpy is slow at copying three of four values
        color[..., channel] = pixels[..., 0 if picture.is_gray else channel]
    if picture.bits == 16:
        color /= _SIXTEEN_BIT_STEP
    return Planes(color, alpha_plane(picture))


def alpha_plane(picture: Picture) -> Plane | None:
    """The alpha of `to_planes` alone."""
    if not picture.has_alpha:
        return None
    alpha = picture.pixels[..., -1].astype(np.float32)
    if picture.bits == 16:
        alpha /= _SIXTEEN_BIT_STEP
    return alpha


def from_planes(color: Floats, alpha: Floats | None, like: Picture) -> Picture:
    """Convert floats to a picture with the channels, bit depth and metadata of `like`; the inverse of `to_planes`.

    Args:
        color: (H, W, 3) floating point with any strides, in 0..255.
        alpha: (H, W) floating point in 0..255 if `like` has alpha, otherwise None.
        like: a picture of any size.

    Raises:
        InputError: as for `quantize`.
    """
    pixels: Pixels = np.empty((*color.shape[:2], like.pixels.shape[2]), like.pixels.dtype)
    quantize(color, alpha, out=pixels)
    return replace(like, pixels=pixels)


def quantize(color: Floats, alpha: Floats | None, out: Pixels) -> None:
    """Clip to 0..255 and round to the nearest sample, ties to even, without a float copy of the input.

    Args:
        color: (H, W, 3) floating point with any strides, in 0..255.
        alpha: (H, W) floating point in 0..255 if `out` has alpha, otherwise None.
        out: pixels (H, W, C) as in `Picture`, with any strides, such as a band of rows of a larger picture. Gray is the
            mean of the three channels, the best of three equally noisy estimates of one value.

    Raises:
        InputError: another shape or type, a missing or surplus alpha, NaN or infinity.
    """
    _check_planes(color, alpha, out)
    height, width, channels = out.shape
    rows = max(1, _BAND_SAMPLES // (3 * width))
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        colors = color[band].astype(np.float32, copy=False)
        if channels <= 2:
            colors = ((colors[..., 0] + colors[..., 1] + colors[..., 2]) / np.float32(3))[..., None]
        _round_into(out[band, :, : colors.shape[2]], colors)
        if alpha is not None:
            _round_into(out[band, :, -1], alpha[band].astype(np.float32, copy=False))


def bleed_color(color: Plane, alpha: Plane) -> Plane:
    """Fill the colour of fully transparent pixels from the visible ones nearby.

    The colour under alpha 0 is arbitrary, mostly black, and any filter that reaches across the edge pulls it into view
    as a fringe. Push-pull: averages weighted by alpha over ever larger squares, then each pixel without colour takes
    the finest average that has one (Gortler et al., The Lumigraph, 1996, section 3.4).

    Args:
        color: (H, W, 3) in 0..255.
        alpha: (H, W) in 0..255.

    Returns:
        (H, W, 3), equal to color where alpha > 0; color itself if no pixel is hidden or all are.

    Raises:
        InputError: the shapes do not match.
    """
    if color.ndim != 3 or color.shape[2] != 3 or alpha.shape != color.shape[:2]:
        raise InputError(
            f"colour has shape {color.shape}, alpha {alpha.shape}; pass (height, width, 3) and (height, width)"
        )
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return color
    return _filled(color, (alpha / np.float32(255))[..., None])


def _filled(color: Plane, weight: Plane) -> Plane:
    """One level of push-pull: `color` (H, W, 3), replaced by the next coarser average where `weight` (H, W, 1) is 0."""
    if weight.size == 1 or (weight > 0).all():
        return color
    coarse_weight = _quarter_sums(weight)
    average = _quarter_sums(color * weight) / np.maximum(coarse_weight, np.finfo(np.float32).tiny)
    coarse = _filled(average, coarse_weight)
    rows, columns = np.nonzero(weight[..., 0] <= 0)
    filled: Plane = color.copy()
    filled[rows, columns] = coarse[rows // 2, columns // 2]
    return filled


def _quarter_sums(values: Plane) -> Plane:
    """A quarter of the sum of each 2x2 square of (H, W, C); beyond an odd border squares count zeros.

    Only ratios of such sums are used, so the border needs no divisor of its own.
    """
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    sums = values[::2, ::2] + values[::2, 1::2]
    sums += values[1::2, ::2]
    sums += values[1::2, 1::2]
    sums *= np.float32(0.25)
    return sums


def _check_planes(color: Floats, alpha: Floats | None, out: Pixels) -> None:
    for plane in (color, alpha):
        if plane is not None and not np.issubdtype(plane.dtype, np.floating):
            raise InputError(f"expected floating-point planes in 0..255, got {plane.dtype}")
    if color.ndim != 3 or color.shape[2] != 3 or 0 in color.shape:
        raise InputError(f"colour has shape {color.shape}; pass (height, width, 3)")
    if color.shape[:2] != out.shape[:2]:
        raise InputError(f"colour has shape {color.shape}, pixels {out.shape}; heights and widths must be equal")
    if (alpha is not None) != (out.shape[2] % 2 == 0):
        given, expected = ("no alpha", "with") if alpha is None else ("alpha", "without")
        raise InputError(f"got {given} for a picture {expected} alpha; pass alpha only if the picture has it")
    if alpha is not None and alpha.shape != color.shape[:2]:
        raise InputError(f"alpha has shape {alpha.shape}; pass {color.shape[:2]}, the size of the colour")


def _round_into(out: Pixels, values: Plane) -> None:
    """Store values in 0..255 as the nearest samples of out's type."""
    # min and max propagate NaN, and infinity is one of them.
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise InputError("result contains NaN or infinity; check the weights and the input")
    largest = np.iinfo(out.dtype).max
    scaled = values * np.float32(_SIXTEEN_BIT_STEP if largest > 255 else 1)
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, largest, out=scaled)
    out[...] = scaled
