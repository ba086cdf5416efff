"""The last two convs of a tail as one: with only PixelShuffle between them, they form a linear map.

Each LR pixel becomes f x f SR pixels that depend on 5x5 pixels around it: 25 * C * 3 * f^2 multiply-accumulates instead
of 9 * C * (C + 3) * f^2. Beyond the border the last conv sees zeros, not the output of the conv before it, so border
pixels have their own weights.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from adadsr.graph import ConvWeights

SIDE = 5
EDGE_CASES = ((3, 0), (5, 2), (3, 2), (1, 0))
"""(pixels along an axis, index of one of them): the first, an inner, the last, and an only pixel."""


def fold_tail(up: ConvWeights, factor: int, last: ConvWeights) -> list[ConvWeights]:
    """5x5 convs that, followed by PixelShuffle(factor), equal `up`, PixelShuffle(factor) and `last`.

    up: (f*f*C, C, 3, 3). last: (O, C, 3, 3). Returns float32 (O*f*f, C, 5, 5) for each of `EDGE_CASES` of a row and,
    within it, of a column. Outputs are in PixelShuffle's order: [channel][row][column].
    """
    convs = _Convs(up, factor, last)
    return [convs.folded(rows, columns) for rows in EDGE_CASES for columns in EDGE_CASES]


class _Convs:
    """Both convs in float64, split by channel and sub-pixel."""

    def __init__(self, up: ConvWeights, factor: int, last: ConvWeights) -> None:
        middle = last.weight.shape[1]
        self.factor = factor
        # (C, f*f, ...): of each channel the sub-pixels that PixelShuffle puts into one LR pixel.
        self.up = np.asarray(up.weight, np.float64).reshape(middle, factor**2, *up.weight.shape[1:])
        self.up_bias = np.asarray(up.bias, np.float64).reshape(middle, factor**2)
        self.last = np.asarray(last.weight, np.float64)
        self.last_bias = np.asarray(last.bias, np.float64)

    def folded(self, rows: tuple[int, int], columns: tuple[int, int]) -> ConvWeights:
        """The conv for one edge case. rows, columns: one of `EDGE_CASES` each."""
        factor, outputs = self.factor, len(self.last)
        weight = np.zeros((outputs, factor, factor, self.up.shape[2], SIDE, SIDE))
        bias = np.broadcast_to(self.last_bias[:, None, None], (outputs, factor, factor)).copy()
        for sub_row in range(factor):
            for sub_column in range(factor):
                for tap_row, down, from_row in self._taps(sub_row, rows):
                    for tap_column, right, from_column in self._taps(sub_column, columns):
                        tap, sub = self.last[:, :, tap_row, tap_column], from_row * factor + from_column
                        window = weight[:, sub_row, sub_column, :, down : down + 3, right : right + 3]
                        window += np.tensordot(tap, self.up[:, sub], 1)
                        bias[:, sub_row, sub_column] += tap @ self.up_bias[:, sub]
        inside = np.outer(_inside(*rows), _inside(*columns))
        flat = (weight * inside).reshape(outputs * factor**2, -1, SIDE, SIDE)
        return ConvWeights(flat.astype(np.float32), bias.reshape(-1).astype(np.float32))

    def _taps(self, sub: int, axis: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
        """Taps of the last conv along an axis at sub-pixel `sub` of a pixel.

        Yields the tap, the start in the 5x5 window of the 3x3 window of the LR pixel under it, and the sub-pixel under
        it. Taps beyond the image see zeros and are left out.
        """
        length, at = axis
        for tap in range(3):
            seen = at * self.factor + sub + tap - 1
            if 0 <= seen < length * self.factor:
                yield tap, seen // self.factor - at + 1, seen % self.factor


def _inside(length: int, at: int) -> npt.NDArray[np.bool_]:
    """Which of the five pixels of a window along an axis lie in the image."""
    positions = np.arange(at - SIDE // 2, at + SIDE // 2 + 1)
    return (positions >= 0) & (positions < length)
