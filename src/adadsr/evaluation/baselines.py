"""Interpolation baselines."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.evaluation.benchmark import Pair, Pixels
from adadsr.metrics import luma
from adadsr.resize import bicubic_upscale, imresize


class Enlarged(NamedTuple):
    """sr: uint8 RGB (s*h, s*w, 3). luma: see `records.Result`."""

    sr: Pixels
    luma: tuple[Pixels, Pixels] | None = None


def bicubic_rgb(pair: Pair) -> Enlarged:
    """MATLAB's bicubic of the 8-bit RGB image that networks get."""
    return Enlarged(bicubic_upscale(pair.lr, pair.scale))


def bicubic(pair: Pair) -> Enlarged:
    """The bicubic of the literature's tables (33.66 dB on Set5 x2), whose Y never was an 8-bit RGB image.

    HR's Y, of a gray file the gray value itself, is rounded, downscaled and upscaled in floating point, and rounded.
    Source: the scripts published with SRCNN, whose figures later papers copied. The picture is `bicubic_rgb`'s.
    """
    hr = pair.hr[..., 0].copy() if pair.is_gray else _to_uint8(luma(pair.hr))
    lr = imresize(hr.astype(np.float64), 1 / pair.scale)
    return Enlarged(bicubic_rgb(pair).sr, (_to_uint8(imresize(lr, pair.scale)), hr))


def lanczos(pair: Pair) -> Enlarged:
    """Lanczos-3 of the 8-bit RGB image that networks get, rounded once."""
    return Enlarged(_to_uint8(imresize(pair.lr.astype(np.float32), pair.scale, kernel="lanczos")))


BASELINES: dict[str, Callable[[Pair], Enlarged]] = {"bicubic": bicubic, "bicubic-rgb": bicubic_rgb, "lanczos": lanczos}
"""Name -> function that upscales the LR image of a pair."""


def _to_uint8(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded
