"""RGB that an encoder bound to the matrix of BT.601 turns into the YCbCr of another (ITU-T H.273, 8.3)."""

import numpy as np
import numpy.typing as npt

from adadsr.images._picture import Pixels

_BAND_ROWS = 256
_TOLERANCE = 0.02
_Weights = tuple[float, float]
_BT601: _Weights = (0.299, 0.114)
BT2020: _Weights = (0.2627, 0.0593)
"""Weights of red and blue in the luma."""


def as_if_bt601(pixels: Pixels, weights: _Weights) -> Pixels | None:
    """RGB(A) pixels whose YCbCr by BT.601 is that of `pixels` by other weights.

    None if that needs values further out of range than a lossy encoder errs; what is nearer is clipped.

    weights: of red and blue in the luma.
    """
    change = np.linalg.inv(_matrix(_BT601)) @ _matrix(weights)
    top = np.iinfo(pixels.dtype).max
    changed: Pixels = pixels.copy()
    for start in range(0, len(pixels), _BAND_ROWS):
        color = pixels[start : start + _BAND_ROWS, :, :3].astype(np.float32) @ change.T.astype(np.float32)
        if color.min() < -_TOLERANCE * top or color.max() > (1 + _TOLERANCE) * top:
            return None
        changed[start : start + _BAND_ROWS, :, :3] = np.clip(np.rint(color), 0, top)
    return changed


def _matrix(weights: _Weights) -> npt.NDArray[np.float64]:
    red, blue = weights
    luma = np.array([red, 1 - red - blue, blue])
    return np.array([luma, (np.eye(3)[2] - luma) / (2 * (1 - blue)), (np.eye(3)[0] - luma) / (2 * (1 - red))])
