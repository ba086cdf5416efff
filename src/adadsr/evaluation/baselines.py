"""Interpolations that networks are held against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from adadsr.evaluation.benchmark import Pair, Pixels
from adadsr.metrics import luma
from adadsr.resize import bicubic_upscale, resize_tensor


class Compared(NamedTuple):
    """What metrics compare, uint8: both RGB (s*h, s*w, 3) or both Y (s*h, s*w)."""

    sr: Pixels
    hr: Pixels


def bicubic(pair: Pair) -> Compared:
    """MATLAB's bicubic of the same 8-bit RGB image that a network gets."""
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    return Compared(bicubic_upscale(pair.lr, scale), pair.hr)


def lanczos(pair: Pair) -> Compared:
    """Lanczos-3 of the same 8-bit RGB image, rounded once."""
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    planes = torch.from_numpy(pair.lr).permute(2, 0, 1)[None].float()
    return Compared(_to_uint8(resize_tensor(planes, scale, kernel="lanczos")[0].permute(1, 2, 0).numpy()), pair.hr)


def bicubic_y(pair: Pair) -> Compared:
    """The bicubic of the literature's tables (33.66 dB on Set5 x2), which never was an 8-bit RGB image.

    HR's Y, of a gray file the gray value itself, is rounded, shrunk and enlarged in floating point, and rounded; both
    results are Y alone, (s*h, s*w). Source: the scripts published with SRCNN, whose figures later papers took over.
    """
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    hr = pair.hr[..., 0].copy() if pair.is_gray else _to_uint8(luma(pair.hr))
    lr = resize_tensor(torch.from_numpy(hr)[None, None].double(), 1 / scale)
    return Compared(_to_uint8(resize_tensor(lr, scale)[0, 0].numpy()), hr)


BASELINES: dict[str, Callable[[Pair], Compared]] = {"bicubic": bicubic, "bicubic-y": bicubic_y, "lanczos": lanczos}
"""Name -> from LR and HR to what is compared."""


def _to_uint8(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded
