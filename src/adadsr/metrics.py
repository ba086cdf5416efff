"""PSNR and SSIM as measured in the super-resolution literature: uint8 images, shaved borders, Y of BT.601.

In this order: uint8 images -> `shave` pixels cut from each border -> Y in float, not rounded -> metric.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError

__all__ = ["WINDOW", "luma", "psnr_rgb", "psnr_y", "ssim_y"]

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

WINDOW = 11
"""Side of SSIM's window in pixels, and so of the smallest image that has an SSIM."""
_PEAK = 255.0
BT601 = np.array([65.481, 128.553, 24.966]) / 255
_SIGMA = 1.5
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
_GAUSSIAN = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / _SIGMA) ** 2)
_GAUSSIAN /= _GAUSSIAN.sum()
_BAND = 32  # rows of windows at a time, so that they stay in the cache


def luma(image: Image) -> Plane:
    """Y of BT.601, as MATLAB's rgb2ycbcr defines it, before any rounding.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) uint8, which is taken as Y.

    Returns:
        (H, W) float64, in [16, 235] for RGB.

    Raises:
        InputError: another type or shape.
    """
    _check_image("image", image)
    return image.astype(np.float64) if image.ndim == 2 else image @ BT601 + 16


def psnr_y(sr: Image, hr: Image, shave: int) -> float:
    """Peak signal-to-noise ratio of Y in dB, peak 255; infinity if the two are equal.

    Args:
        sr, hr: (H, W, 3) or (H, W) uint8.
        shave: pixels cut from each border, usually the scale.

    Raises:
        InputError: another type, shapes that differ, or a shave that leaves no pixel.
    """
    sr, hr = _shaved(sr, hr, shave)
    return _psnr(luma(sr) - luma(hr))


def psnr_rgb(sr: Image, hr: Image, shave: int) -> float:
    """Peak signal-to-noise ratio over all channels in dB, peak 255; infinity if the two are equal.

    Args:
        sr, hr: (H, W, 3) or (H, W) uint8.
        shave: pixels cut from each border, usually the scale.

    Raises:
        InputError: another type, shapes that differ, or a shave that leaves no pixel.
    """
    sr, hr = _shaved(sr, hr, shave)
    return _psnr(sr.astype(np.float64) - hr)


def ssim_y(sr: Image, hr: Image, shave: int) -> float:
    """Mean structural similarity of Y, in [-1, 1]; 1 if the two are equal.

    Gaussian window of 11 x 11, sigma 1.5, only where it lies inside the image; K1 = 0.01, K2 = 0.03, L = 255 (Wang et
    al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004).

    Args:
        sr, hr: (H, W, 3) or (H, W) uint8, at least 11 x 11 after shaving.
        shave: pixels cut from each border, usually the scale.

    Raises:
        InputError: another type, shapes that differ, or fewer pixels than a window.
    """
    sr, hr = _shaved(sr, hr, shave)
    if min(sr.shape[:2]) < WINDOW:
        size = f"{sr.shape[1]}x{sr.shape[0]}"
        raise InputError(
            f"images are {size} after shaving {shave} pixels, but SSIM needs {WINDOW}x{WINDOW}; "
            "pass larger images or a smaller shave"
        )
    height, width = sr.shape[0] - WINDOW + 1, sr.shape[1] - WINDOW + 1
    bands = (slice(top, top + _BAND + WINDOW - 1) for top in range(0, height, _BAND))
    total = math.fsum(_similarity(luma(sr[band]), luma(hr[band])).sum() for band in bands)
    return float(total / (height * width))


def _similarity(x: Plane, y: Plane) -> Plane:
    """SSIM of each window that lies inside (H, W): (H - 10, W - 10)."""
    mean_x, mean_y, power, cross = (_blur(plane) for plane in (x, y, x * x + y * y, x * y))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    similar: Plane = (2 * product + _C1) * (2 * (cross - product) + _C2)
    similar /= (squares + _C1) * (power - squares + _C2)
    return similar


def _blur(plane: Plane) -> Plane:
    """Gaussian means of (H, W) where the window lies inside: (H - 10, W - 10)."""
    for axis in (0, 1):
        lines = plane.swapaxes(0, axis)
        size = len(lines) - WINDOW + 1
        means = _GAUSSIAN[0] * lines[:size]
        for start in range(1, WINDOW):
            means += _GAUSSIAN[start] * lines[start : start + size]
        plane = means.swapaxes(0, axis)
    return plane


def _psnr(error: npt.NDArray[np.floating[Any]]) -> float:
    mse = float(np.mean(np.square(error)))
    return math.inf if mse == 0 else 10 * math.log10(_PEAK**2 / mse)


def _shaved(sr: Image, hr: Image, shave: int) -> tuple[Image, Image]:
    """Both without their borders, after checking that they match."""
    _check_image("sr", sr)
    _check_image("hr", hr)
    if sr.shape != hr.shape:
        raise InputError(
            f"sr has shape {sr.shape}, hr {hr.shape}; they must be equal, so crop hr to a multiple of the scale"
        )
    height, width = sr.shape[:2]
    most = (min(height, width) - 1) // 2
    if not isinstance(shave, int | np.integer) or not 0 <= shave <= most:
        raise InputError(f"shave={shave} does not fit a {width}x{height} image; pass an integer from 0 to {most}")
    inside = np.s_[shave : height - shave, shave : width - shave]
    return sr[inside], hr[inside]


def _check_image(name: str, image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"{name} of {given}: pass a uint8 array, rounded and clipped to 0..255")
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise InputError(f"{name} of shape {image.shape}: pass a non-empty (H, W, 3) or (H, W) array")
