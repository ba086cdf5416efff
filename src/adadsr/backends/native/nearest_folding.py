"""Nearest-neighbour upsampling and the 3x3 conv that follows it, as one conv of the smaller image and PixelShuffle.

An upsampled pixel sees at most two different pixels along an axis, so each of the f x f sub-pixels has a conv of 2x2
taps: the sums of the taps that fall on the same pixel. Zeros beyond the border are the same before and after.
"""

import numpy as np

from adadsr.graph import ConvWeights


def fold_nearest(conv: ConvWeights, factor: int) -> ConvWeights:
    """A 3x3 conv (f*f*O, C, 3, 3) that, followed by PixelShuffle(factor), equals upsampling by `factor` and `conv`."""
    weight, (outputs, inputs) = np.asarray(conv.weight, np.float64), conv.weight.shape[:2]
    folded = np.zeros((outputs, factor, factor, inputs, 3, 3))
    steps = [(sub, tap, (sub + tap - 1) // factor + 1) for sub in range(factor) for tap in range(3)]
    for sub_row, tap_row, row in steps:
        for sub_column, tap_column, column in steps:
            # (row, column): the pixel, counted from the one before, on which a tap of the upsampled image falls.
            folded[:, sub_row, sub_column, :, row, column] += weight[:, :, tap_row, tap_column]
    flat = folded.reshape(outputs * factor**2, inputs, 3, 3).astype(np.float32)
    return ConvWeights(flat, np.repeat(np.asarray(conv.bias, np.float32), factor**2))
