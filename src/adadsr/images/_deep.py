"""Samples as decoders give them -> samples as in `Picture`."""

import numpy as np

from adadsr.images._picture import Pixels


def spread(pixels: Pixels, bits: int) -> None:
    """Rescale samples in the upper `bits` of 16, where libvips puts them, to 0..65535, in place."""
    top = 2**bits - 1
    for row in pixels:
        sample = (row >> (16 - bits)).astype(np.uint32)
        row[...] = (sample * 65535 + top // 2) // top


def divide_by_alpha(pixels: Pixels) -> None:
    """Straight colours from those multiplied by alpha, in place."""
    top = int(np.iinfo(pixels.dtype).max)
    for row in pixels:
        alpha = np.maximum(row[:, -1:].astype(np.uint32), 1)
        color = (row[:, :-1].astype(np.uint32) * top + alpha // 2) // alpha
        row[:, :-1] = np.minimum(color, top)


def gray_if_equal(pixels: Pixels, tolerance: int) -> Pixels:
    """RGB(A) pixels as gray (with alpha) if no pixel's colour channels differ by more than `tolerance`."""
    if pixels.shape[2] < 3:
        return pixels
    for row in pixels[..., :3]:
        if (row.max(1) - row.min(1) > tolerance).any():
            return pixels
    return pixels[..., [1, 3]] if pixels.shape[2] == 4 else pixels[..., 1:2]


def full_range(samples: Pixels, top: int) -> Pixels:
    """Samples in 0..top over the full range of 8 bits, or of 16 if they have more."""
    full, dtype = (255, np.uint8) if top < 256 else (65535, np.uint16)
    if top == full:
        return samples.astype(dtype, copy=False)
    scaled: Pixels = ((samples.astype(np.uint32) * full + top // 2) // top).astype(dtype)
    return scaled
