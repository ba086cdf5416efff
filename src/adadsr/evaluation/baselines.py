"""Interpolations that networks are held against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from adadsr.evaluation.benchmark import Pair, Pixels
from adadsr.metrics import luma
from adadsr.resize import bicubic_upscale, resize_tensor


class Enlarged(NamedTuple):
    """sr: uint8 RGB (s*h, s*w, 3). luma: uint8 Y (s*h, s*w) of SR and HR, where a baseline has a rule of its own."""

    sr: Pixels
    luma: tuple[Pixels, Pixels] | None = None


def bicubic_rgb(pair: Pair) -> Enlarged:
    """MATLAB's bicubic of the same 8-bit RGB image that a network gets."""
    return Enlarged(bicubic_upscale(pair.lr, pair.scale))


def bicubic(pair: Pair) -> Enlarged:
    """The bicubic of the literature's tables (33.66 dB on Set5 x2), whose Y never was an 8-bit RGB image.

    HR's Y, of a gray file the gray value itself, is rounded, shrunk and enlarged in floating point, and rounded.
    Source: the scripts published with SRCNN, whose figures later papers took over. The picture is `bicubic_rgb`'s.
    """
    hr = pair.hr[..., 0].copy() if pair.is_gray else _to_uint8(luma(pair.hr))
    lr = resize_tensor(torch.from_numpy(hr)[None, None].double(), 1 / pair.scale)
    return Enlarged(bicubic_rgb(pair).sr, (_to_uint8(resize_tensor(lr, pair.scale)[0, 0].numpy()), hr))


def lanczos(pair: Pair) -> Enlarged:
    """Lanczos-3 of the same 8-bit RGB image that a network gets, rounded once."""
    planes = torch.from_numpy(pair.lr).permute(2, 0, 1)[None].float()
    return Enlarged(_to_uint8(resize_tensor(planes, pair.scale, kernel="lanczos")[0].permute(1, 2, 0).numpy()))


BASELINES: dict[str, Callable[[Pair], Enlarged]] = {"bicubic": bicubic, "bicubic-rgb": bicubic_rgb, "lanczos": lanczos}
"""Name -> from a pair to its enlarged LR image."""


def _to_uint8(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded
