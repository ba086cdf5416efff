"""MATLAB's imresize: bit for bit on uint8 arrays, and its unrounded definition on float tensors.

Source: the behaviour of MATLAB's imresize. Output pixel x (counted from 0) is at u = (x + 1/2) / scale - 1/2
in the input; its pixel i weighs kernel(i - u), where the kernel is widened by 1 / scale when shrinking
(antialiasing); the weights of an output pixel are divided by their sum. uint8 images are rounded after each
of the two passes, first along H, then along W.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from adadsr.errors import InputError

Boundary = Literal["symmetric", "clamp"]
Kernel = Literal["bicubic", "lanczos"]
Floats = npt.NDArray[np.floating[Any]]

SUPPORT = {"bicubic": 2, "lanczos": 3}  # half the width of each kernel, in pixels
BLOCK = 12  # output pixels per small matrix product
ONE_THREAD = 2**18  # up to so many multiply-adds OpenBLAS starts no threads, which on a busy machine cost 20x
EXACT_FLOAT32 = 2**22  # below it float32 holds every half integer
LARGEST_FACTOR = 256  # up to it float64 holds every sum exactly
LARGEST_SCALE = 100
LARGEST_DENOMINATOR = 1000


def bicubic_downscale(
    image: npt.NDArray[np.uint8], factor: int, boundary: Boundary = "symmetric"
) -> npt.NDArray[np.uint8]:
    """What MATLAB's `imresize(image, 1 / factor)` gives, bit for bit.

    image: (H, W) or (H, W, C) uint8. factor: an integer in [2, 256]. boundary: what lies beyond the border,
    the mirrored image ("symmetric") or the border pixel repeated ("clamp", as older versions of MATLAB did).
    Returns uint8 of size ceil(H / factor) x ceil(W / factor). Raises InputError.
    """
    _check(image, factor, boundary)
    return _resize_uint8(image, Fraction(1, int(factor)), boundary)


def bicubic_upscale(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """What MATLAB's `imresize(image, factor)` gives.

    image: (H, W) or (H, W, C) uint8. factor: an integer in [2, 256].
    Returns uint8 of size H * factor x W * factor. Raises InputError.
    """
    _check(image, factor, "symmetric")
    return _resize_uint8(image, Fraction(int(factor)), "symmetric")


def resize_tensor(
    images: torch.Tensor, scale: Fraction | float, *, kernel: Kernel = "bicubic", antialias: bool = True
) -> torch.Tensor:
    """MATLAB's `imresize(images, scale)` for float tensors: no rounding, no clipping, differentiable.

    images: (N, C, H, W) float of any range. scale: output size over input size, in [1/1000, 100]; a float
    means the nearest fraction with a denominator up to 1000, so that `1 / 3` is a third. kernel: "bicubic"
    (a = -1/2) or "lanczos" (Lanczos-3). antialias: widen the kernel when shrinking.
    Returns (N, C, ceil(H * scale), ceil(W * scale)) in the dtype and on the device of images; dtypes of less
    than 32 bits are computed in float32. Raises InputError.
    """
    ratio = _check_tensor(images, scale, kernel)
    result = images.float() if images.dtype.itemsize < 4 else images
    for axis in (-2, -1):
        index, weights = _taps(images.shape[axis], ratio, kernel, antialias, "symmetric")
        weights = weights / weights.sum(axis=1, keepdims=True)
        at = torch.from_numpy(index).to(result.device)
        by = torch.from_numpy(weights).to(result)
        shape = (-1, 1) if axis == -2 else (-1,)
        terms = (by[:, t].view(shape) * result.index_select(axis, at[:, t]) for t in range(at.shape[1]))
        result = sum(terms, start=torch.zeros((), dtype=result.dtype, device=result.device))
    return result.to(images.dtype)


def _taps(
    size: int, scale: Fraction, kernel: str, antialias: bool, boundary: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which input pixels make each output pixel along one dimension, and by how much.

    Returns two arrays (outputs, taps): index in [0, size), and weight before the division by the row's sum.
    With scale = p / q, 2 p (i - u) = p (2 i + 1) - q (2 x + 1) is an integer, and so are the bicubic weights.
    """
    support = SUPPORT[kernel]
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
    if boundary == "clamp":
        return i.clip(0, size - 1), weights
    i = i % (2 * size)
    return np.minimum(i, 2 * size - 1 - i), weights


def _blocks(size: int, scale: Fraction, boundary: str, channels: int) -> tuple[list[tuple[slice, slice, Floats]], int]:
    """One dimension's weights as small dense matrices, with the borders folded in.

    Returns [(output slice, input slice, (outputs, inputs) matrix)] in units of pixels * channels, and the sum
    of each row of the matrices: they hold integers, and their dtype holds all sums with uint8 pixels exactly.
    """
    index, weights = _taps(size, scale, "bicubic", True, boundary)
    weights /= np.gcd.reduce(weights.astype(np.int64), axis=None)
    total = int(weights[0].sum())
    largest = 255 * np.abs(weights).sum(axis=1).max() + total
    dtype = np.float32 if largest < EXACT_FLOAT32 else np.float64
    blocks: list[tuple[slice, slice, Floats]] = []
    known: dict[bytes, Floats] = {}  # away from the borders the same few matrices come back
    for start in range(0, len(index), BLOCK):
        at, by = index[start : start + BLOCK], weights[start : start + BLOCK]
        low, high = int(at.min()), int(at.max()) + 1
        key = (at - low).tobytes() + by.tobytes()
        if key not in known:
            matrix = np.zeros((len(at), high - low), dtype)
            np.add.at(matrix, (np.arange(len(at))[:, None], at - low), by)
            known[key] = np.kron(matrix, np.eye(channels, dtype=dtype))
        outputs = slice(start * channels, (start + len(at)) * channels)
        blocks.append((outputs, slice(low * channels, high * channels), known[key]))
    return blocks, total


def _resize_uint8(image: npt.NDArray[np.uint8], scale: Fraction, boundary: str) -> npt.NDArray[np.uint8]:
    """Along H, then along W, rounded to uint8 after each; in bands of rows that stay in the cache."""
    height, width = image.shape[:2]
    channels = math.prod(image.shape[2:])
    rows, total = _blocks(height, scale, boundary, 1)
    columns, _ = _blocks(width, scale, boundary, channels)
    flat = image.reshape(height, width * channels)
    result = np.empty((math.ceil(height * scale), columns[-1][0].stop), np.uint8)
    for to_rows, from_rows, by_row in rows:
        band = np.empty((len(by_row), flat.shape[1]), by_row.dtype)
        step = max(1, ONE_THREAD // by_row.size)
        for part in (np.s_[start : start + step] for start in range(0, flat.shape[1], step)):
            np.matmul(by_row, flat[from_rows, part].astype(by_row.dtype), out=band[:, part])
        _round(band, total)
        wide = np.empty((len(band), result.shape[1]), band.dtype)
        for to_columns, from_columns, by_column in columns:
            np.matmul(band[:, from_columns], by_column.T, out=wide[:, to_columns])
        result[to_rows] = _round(wide, total)
    return result.reshape(len(result), -1, *image.shape[2:])


def _round(sums: Floats, total: int) -> Floats:
    """sums / total in place, rounded half up, clipped to uint8's range; exact, as the sums are integers."""
    sums += total / 2
    sums /= total
    np.clip(sums, 0, 255, out=sums)
    return np.floor(sums, out=sums)


def _check(image: npt.NDArray[np.uint8], factor: int, boundary: str) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"image of {given}: uint8 arrays are resized bit for bit; use resize_tensor for floats")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"image of shape {image.shape}: pass (H, W) or (H, W, C), no side 0")
    if not isinstance(factor, int | np.integer) or not 2 <= factor <= LARGEST_FACTOR:
        raise InputError(f"factor {factor!r}: pass an integer from 2 to {LARGEST_FACTOR}")
    if boundary not in ("symmetric", "clamp"):
        raise InputError(f'boundary {boundary!r}: pass "symmetric" or "clamp"')


def _check_tensor(images: torch.Tensor, scale: Fraction | float, kernel: str) -> Fraction:
    if not images.is_floating_point() or images.ndim != 4 or 0 in images.shape:
        shape = tuple(images.shape)
        raise InputError(f"images of {images.dtype}, shape {shape}: pass floats (N, C, H, W), no side 0")
    if kernel not in SUPPORT:
        raise InputError(f"kernel {kernel!r}: pass one of {', '.join(SUPPORT)}")
    if not 1 / LARGEST_DENOMINATOR <= scale <= LARGEST_SCALE:
        raise InputError(f"scale {scale!r}: pass a number from 1/{LARGEST_DENOMINATOR} to {LARGEST_SCALE}")
    return Fraction(scale).limit_denominator(LARGEST_DENOMINATOR)
