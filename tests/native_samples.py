"""What the tests of the native engine share. Importing it skips a test module where the extension was not built."""

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from adadsr.backends import native
from adadsr.graph import ConvWeights

WHY_MISSING = native.missing()
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_NATIVE") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.backends.native import _native  # noqa: E402

ISAS = _native.isas()
CHANNELS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, 192, 256, 257]
ROUNDINGS = 3 * 2.0**-24
"""Of the largest value: what rounding a product, a sum and a bias to float32 may cost. A smaller error is luck."""


def filled(images: np.ndarray) -> _native.Canvas:
    """A canvas that holds images (N, H, W, C), for convs of every instruction set."""
    canvas = _native.Canvas(*images.shape, "float32" if _native.bf16_isa() is None else "both")
    canvas.copy_from(images, 1)
    return canvas


def canvas_of(images: Tensor) -> _native.Canvas:
    """A canvas that holds images (N, C, H, W)."""
    return filled(images.permute(0, 2, 3, 1).numpy())


def images_of(canvas: _native.Canvas) -> Tensor:
    """The images (N, C, H, W) of a canvas, in its memory."""
    return torch.from_numpy(canvas.view()).permute(0, 3, 1, 2)


def random_conv(seed: int, batch: int, channels: int, out: int, height: int, width: int) -> tuple[Tensor, ConvWeights]:
    """Images (N, C, H, W) and a 3x3 conv of them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, channels, height, width, generator=generator)
    weight = torch.randn(out, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    return images, ConvWeights(weight, torch.randn(out, generator=generator))
