"""MATLAB's imresize: bit for bit on uint8 arrays, and its unrounded definition on floats.

Source: the behaviour of MATLAB's imresize. Output pixel x (counted from 0) lies at u = (x + 1/2) / scale - 1/2 in the
input. Input pixel i has the weight kernel(i - u); the kernel is widened by 1 / scale when shrinking (antialiasing), and
the weights of an output pixel are divided by their sum. The image is mirrored beyond its border. uint8 images are
rounded after each of the two passes, first along H, then along W.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError

__all__ = ["Kernel", "bicubic_downscale", "bicubic_upscale", "imresize", "reduce_samples"]

Kernel = Literal["bicubic", "lanczos"]
Floats = npt.NDArray[np.floating[Any]]
Real = TypeVar("Real", bound=np.floating[Any])
Finish = Callable[[Floats], Floats]

_SUPPORT = {"bicubic": 2, "lanczos": 3}  # half the width of each kernel, in pixels
_BAND_VALUES = 1 << 16  # values computed at a time, so that they stay in the cache
_EXACT_FLOAT32 = 2**22  # below this float32 represents every half integer
_LARGEST_FACTOR = 256  # up to this float64 represents every sum exactly
_LARGEST_SCALE = 100
_LARGEST_DENOMINATOR = 1000
_LONGEST_SIDE = 300_000  # of what is reduced: longer ones would overflow the integer weights
_BAND_SAMPLES = 1 << 20  # samples read for a band of rows


def bicubic_downscale(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Shrink as MATLAB's `imresize(image, 1 / factor)` does, bit for bit.

    Args:
        image: (H, W) or (H, W, C) uint8.
        factor: an integer from 2 to 256.

    Returns:
        uint8 of size ceil(H / factor) x ceil(W / factor).

    Raises:
        InputError: another type, shape or factor.
    """
    _check(image, factor)
    return _resize_uint8(image, Fraction(1, int(factor)))


def bicubic_upscale(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Enlarge as MATLAB's `imresize(image, factor)` does.

    Args:
        image: (H, W) or (H, W, C) uint8.
        factor: an integer from 2 to 256.

    Returns:
        uint8 of size H * factor x W * factor.

    Raises:
        InputError: another type, shape or factor.
    """
    _check(image, factor)
    return _resize_uint8(image, Fraction(int(factor)))


def imresize(
    image: npt.NDArray[Real], scale: Fraction | float, *, kernel: Kernel = "bicubic", antialias: bool = True
) -> npt.NDArray[Real]:
    """Resize floats as MATLAB's `imresize(image, scale)` does before it rounds and clips.

    Args:
        image: (H, W) or (H, W, C) floating, of any range.
        scale: output size over input size, from 1/1000 to 100; a float stands for the nearest fraction with a
            denominator up to 1000, so that `1 / 3` is a third.
        kernel: "bicubic" (a = -1/2) or "lanczos" (Lanczos-3).
        antialias: widen the kernel when shrinking.

    Returns:
        ceil(H * scale) x ceil(W * scale), in the type of image; float16 is resized in float32.

    Raises:
        InputError: another type, shape, scale or kernel.
    """
    ratio = _check_floats(image, scale, kernel)
    result = image.astype(np.float32) if image.dtype == np.float16 else image
    for axis in (0, 1):
        index, weights = _taps(image.shape[axis], ratio, kernel, antialias)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(result.dtype)
        result = _resize_axis(result, axis, index, weights, finish=lambda sums: sums)
    return np.ascontiguousarray(result, image.dtype)


def reduce_samples(
    image: npt.NDArray[np.unsignedinteger[Any]], out: npt.NDArray[np.unsignedinteger[Any]], *, linear_colors: int = 0
) -> None:
    """Reduce an image to the exact size of `out`, antialiased as `imresize` does, and round once.

    Works on bands of rows, so that no copy of the image is made.

    Args:
        image: (H, W, C) uint8 or uint16.
        out: (h, w, C) with h <= H and w <= W, of the same type, or uint8 for a uint16 image.
        linear_colors: this many channels, the first ones, are averaged as light instead of as samples, by the curve of
            sRGB.

    Raises:
        InputError: another shape, or a side over 300,000 pixels.
    """
    (height, width, channels), (rows, columns, _) = image.shape, out.shape
    if not (1 <= rows <= height and 1 <= columns <= width) or out.shape[2] != channels:
        raise InputError(f"out has shape {out.shape}; pass one within {image.shape}, with the same channels")
    if max(height, width) > _LONGEST_SIDE:
        raise InputError(
            f"{width}x{height} cannot be reduced to {columns}x{rows}: sides are over {_LONGEST_SIDE} pixels; choose a "
            "scale that one network has"
        )
    largest, top_sample = np.iinfo(out.dtype).max, np.iinfo(image.dtype).max
    light = _srgb_to_light(np.linspace(0, 1, top_sample + 1)).astype(np.float32) if linear_colors else None
    row_index, row_weights = _normalised(height, rows)
    column_index, column_weights = _normalised(width, columns)
    band_rows = max(1, _BAND_SAMPLES * rows // (height * width * channels))
    for top in range(0, rows, band_rows):
        band = slice(top, top + band_rows)
        low, high = row_index[band].min(), row_index[band].max() + 1
        part = image[low:high].astype(np.float32)
        part /= np.float32(top_sample / largest)
        if light is not None:
            part[..., :linear_colors] = light[image[low:high, :, :linear_colors]]
        part = _resize_axis(part, 0, row_index[band] - low, row_weights[band], finish=lambda sums: sums)
        part = _resize_axis(part, 1, column_index, column_weights, finish=lambda sums: sums)
        if light is not None:
            part[..., :linear_colors] = largest * _light_to_srgb(part[..., :linear_colors])
        out[band] = np.clip(np.rint(part, out=part), 0, largest, out=part)


def _srgb_to_light(signal: Floats) -> Floats:
    """Light of sRGB signals, both 0..1 (IEC 61966-2-1)."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _light_to_srgb(light: Floats) -> Floats:
    """The inverse of `_srgb_to_light`; negative light is 0."""
    light = np.maximum(light, 0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _normalised(size: int, result: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Taps of a reduction, with weights whose sum is 1."""
    index, weights = _taps(size, Fraction(result, size), "bicubic", antialias=True)
    return index, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _taps(
    size: int, scale: Fraction, kernel: str, antialias: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Input pixels of each output pixel along one dimension, and their weights.

    Returns two arrays (outputs, taps): indices in [0, size), and weights before the division by the row's sum.
    With scale = p / q, 2 p (i - u) = p (2 i + 1) - q (2 x + 1) is an integer, and so are the bicubic weights.
    """
    support = _SUPPORT[kernel]
    p, q = scale.numerator, scale.denominator
    wide = max(p, q) if antialias else p  # the kernel spans 2 * support * wide / p input pixels
    d = 2 * wide
    x = np.arange(math.ceil(size * scale))[:, None]
    left = ((2 * x + 1) * q - p - d * support) // (2 * p)
    i = left + np.arange(-(-d * support // p) + 2)
    m = np.abs(p * (2 * i + 1) - q * (2 * x + 1))  # m / d is the distance in units of the kernel
    if kernel == "bicubic":
        near = 3 * m**3 - 5 * m**2 * d + 2 * d**3
        far = -(m**3) + 5 * m**2 * d - 8 * m * d**2 + 4 * d**3
        weights = np.where(m <= d, near, np.where(m < 2 * d, far, 0)).astype(np.float64)
    else:
        weights = np.where(m < 3 * d, np.sinc(m / d) * np.sinc(m / (3 * d)), 0.0)
    used = (weights != 0).any(axis=0)
    i, weights = i[:, used], weights[:, used]
    i = i % (2 * size)
    return np.minimum(i, 2 * size - 1 - i), weights


def _resize_axis(
    image: npt.NDArray[Any], axis: int, index: npt.NDArray[np.int64], weights: Floats, finish: Finish
) -> npt.NDArray[Any]:
    """Sum the pixels `index` (outputs, taps) of an axis times `weights`, tap by tap in the type of weights.

    The axis is moved to the front meanwhile, so that a tap reads whole lines. finish: turns sums into result values.
    """
    lines = np.moveaxis(image, axis, 0)
    result = np.empty((len(index), *lines.shape[1:]), image.dtype)
    flat, lines = result.reshape(len(index), -1), lines.reshape(len(lines), -1)
    rows = max(1, _BAND_VALUES // lines.shape[1])
    for top in range(0, len(index), rows):
        band = slice(top, top + rows)
        sums = np.zeros(flat[band].shape, weights.dtype)
        for tap in range(index.shape[1]):
            sums += weights[band, tap, None] * lines[index[band, tap]]
        flat[band] = finish(sums)
    return np.moveaxis(result, 0, axis)


def _resize_uint8(image: npt.NDArray[np.uint8], scale: Fraction) -> npt.NDArray[np.uint8]:
    """Resize with integer weights and sums, in a floating-point type that holds them exactly."""
    for axis in (0, 1):
        index, weights = _taps(image.shape[axis], scale, "bicubic", antialias=True)
        weights /= np.gcd.reduce(weights.astype(np.int64), axis=None)
        total = int(weights[0].sum())
        largest = 255 * np.abs(weights).sum(axis=1).max() + total
        exact = weights.astype(np.float32 if largest < _EXACT_FLOAT32 else np.float64)
        image = _resize_axis(image, axis, index, exact, partial(_round, total=total))
    return np.ascontiguousarray(image)


def _round(sums: Floats, total: int) -> Floats:
    """sums / total in place, rounded half up and clipped to uint8's range; exact because the sums are integers."""
    sums += total / 2
    sums /= total
    np.clip(sums, 0, 255, out=sums)
    return np.floor(sums, out=sums)


def _check(image: npt.NDArray[np.uint8], factor: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"image of {given}: pass a uint8 array, or use imresize for floats")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"image of shape {image.shape}: pass a non-empty (H, W) or (H, W, C) array")
    if not isinstance(factor, int | np.integer) or not 2 <= factor <= _LARGEST_FACTOR:
        raise InputError(f"factor {factor!r}: pass an integer from 2 to {_LARGEST_FACTOR}")


def _check_floats(image: Floats, scale: Fraction | float, kernel: str) -> Fraction:
    if not isinstance(image, np.ndarray) or not np.issubdtype(image.dtype, np.floating):
        given = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"image of {given}: pass a floating-point numpy array")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"image of shape {image.shape}: pass a non-empty (H, W) or (H, W, C) array")
    if kernel not in _SUPPORT:
        raise InputError(f"kernel {kernel!r}: pass one of {', '.join(_SUPPORT)}")
    if not 1 / _LARGEST_DENOMINATOR <= scale <= _LARGEST_SCALE:
        raise InputError(f"scale {scale!r}: pass a number from 1/{_LARGEST_DENOMINATOR} to {_LARGEST_SCALE}")
    return Fraction(scale).limit_denominator(_LARGEST_DENOMINATOR)
