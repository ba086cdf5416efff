"""PSNR and SSIM as the super-resolution literature measures them: uint8 images, borders shaved, Y of BT.601.

In this order: uint8 images -> `shave` pixels cut from each border -> Y in float, not rounded -> figure.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

PEAK = 255.0
BT601 = np.array([65.481, 128.553, 24.966]) / 255
WINDOW = 11
SIGMA = 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
BLOCK, PART = 32, 192  # sizes of the Gaussian filter's matrix products: too small for OpenBLAS to start threads


def luma(image: Image) -> Plane:
    """Y of BT.601, as MATLAB's rgb2ycbcr defines it, before any rounding.

    image: (H, W, 3) uint8 RGB, or (H, W) uint8, which is taken to be Y already.
    Returns (H, W) float64, in [16, 235] for RGB. Raises InputError.
    """
    _check_image("image", image)
    return image.astype(np.float64) if image.ndim == 2 else image @ BT601 + 16


def psnr_y(sr: Image, hr: Image, shave: int) -> float:
    """Peak signal-to-noise ratio of Y in dB, peak 255; infinite where the two are equal.

    sr, hr: (H, W, 3) or (H, W) uint8. shave: pixels cut from each border, usually the scale.
    Raises InputError.
    """
    sr, hr = _shaved(sr, hr, shave)
    return _psnr(luma(sr) - luma(hr))


def psnr_rgb(sr: Image, hr: Image, shave: int) -> float:
    """Peak signal-to-noise ratio over all channels in dB, peak 255; infinite where the two are equal.

    sr, hr: (H, W, 3) or (H, W) uint8. shave: pixels cut from each border, usually the scale.
    Raises InputError.
    """
    sr, hr = _shaved(sr, hr, shave)
    return _psnr(sr.astype(np.float64) - hr)


def ssim_y(sr: Image, hr: Image, shave: int) -> float:
    """Mean structural similarity of Y, in [-1, 1]; 1 where the two are equal.

    sr, hr: (H, W, 3) or (H, W) uint8, at least 11 x 11 after the cut. shave: pixels cut from each border,
    usually the scale. Gaussian window of 11 x 11, sigma 1.5, only where it lies inside the image; K1 = 0.01,
    K2 = 0.03, L = 255 (Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
    2004). Raises InputError.
    """
    sr, hr = _shaved(sr, hr, shave)
    if min(sr.shape[:2]) < WINDOW:
        size = f"{sr.shape[1]}x{sr.shape[0]}"
        raise InputError(
            f"images of {size} pixels after shaving {shave}: SSIM needs at least {WINDOW}x{WINDOW}; "
            "pass larger images or a smaller shave"
        )
    x, y = luma(sr), luma(hr)
    mean_x, mean_y, power, cross = _blur(np.stack((x, y, x * x + y * y, x * y)))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    similar = (2 * product + C1) * (2 * (cross - product) + C2)
    return float(np.mean(similar / ((squares + C1) * (power - squares + C2))))


def _gaussian_matrix() -> Plane:
    """(BLOCK + 10, BLOCK): column j holds the window's weights from row j on."""
    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    columns = [np.pad(weights / weights.sum(), (j, BLOCK - 1 - j)) for j in range(BLOCK)]
    return np.stack(columns, axis=1)


def _blur(planes: Plane) -> Plane:
    """Gaussian means of (N, H, W) where the window lies inside: (N, H - 10, W - 10)."""
    matrix = _gaussian_matrix()
    for _ in range(2):  # along H, then, as each turn transposes, along W
        count, height, width = planes.shape
        blurred = np.empty((count, width, height - WINDOW + 1))
        for row, column in itertools.product(range(0, blurred.shape[2], BLOCK), range(0, width, PART)):
            tile = planes[:, row : row + len(matrix), column : column + PART].transpose(0, 2, 1)
            size = tile.shape[2] - WINDOW + 1
            blurred[:, column : column + PART, row : row + size] = tile @ matrix[: tile.shape[2], :size]
        planes = blurred
    return planes


def _psnr(error: npt.NDArray[np.floating[Any]]) -> float:
    mse = float(np.mean(np.square(error)))
    return math.inf if mse == 0 else 10 * math.log10(PEAK**2 / mse)


def _shaved(sr: Image, hr: Image, shave: int) -> tuple[Image, Image]:
    """Both without their borders, once they are known to fit together."""
    _check_image("sr", sr)
    _check_image("hr", hr)
    if sr.shape != hr.shape:
        raise InputError(
            f"sr of shape {sr.shape} and hr of shape {hr.shape}: they must be equal; crop hr to a multiple of the scale"
        )
    height, width = sr.shape[:2]
    most = (min(height, width) - 1) // 2
    if not isinstance(shave, int | np.integer) or not 0 <= shave <= most:
        raise InputError(
            f"shave {shave} of an image of {width}x{height} pixels: pass 0 to {most}, so that a pixel is left"
        )
    inside = np.s_[shave : height - shave, shave : width - shave]
    return sr[inside], hr[inside]


def _check_image(name: str, image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"{name} of {given}: metrics take uint8 arrays; round and clip to 0..255 first")
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise InputError(f"{name} of shape {image.shape}: pass (H, W, 3) or (H, W), no side 0")
