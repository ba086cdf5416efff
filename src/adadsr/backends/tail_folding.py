"""The convs of a tail as one: with only PixelShuffle between them, they form a linear map.

Each LR pixel becomes s x s SR pixels that depend on 5x5 pixels around it: with 64 features an eighth of the
multiply-accumulates at x2, a tenth at x4. Beyond the border convs see zeros, not the outputs of the convs before them,
so border pixels have their own weights. The native and the portable engine and exported files fold tails.
"""

from typing import NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from adadsr.graph import ConvWeights, ShuffleTail, TailWeights

SIDE = 5
EDGE_CASES = ((3, 0), (5, 2), (3, 2), (1, 0))
"""(pixels along an axis, index of one of them): the first, an inner, the last, and an only pixel."""
INNER = 1
"""Index of the inner one."""


def is_foldable(tail: TailWeights) -> TypeGuard[ShuffleTail]:
    """Whether a tail is of this kind."""
    return isinstance(tail, ShuffleTail) and len(tail.convs) > 0


def fold_tail(tail: ShuffleTail) -> list[ConvWeights]:
    """5x5 convs that, followed by PixelShuffle(s), equal a tail whose features see at most two pixels.

    Returns float32 (O*s*s, C, 5, 5) for each of `EDGE_CASES` of a row and, within it, of a column. Outputs are in
    PixelShuffle's order: [channel][row][column].
    """
    return [_folded(tail, rows, columns) for rows in EDGE_CASES for columns in EDGE_CASES]


def fold_between(tail: ShuffleTail) -> ConvWeights:
    """The one of them for pixels that are inner in rows and columns."""
    return _folded(tail, EDGE_CASES[INNER], EDGE_CASES[INNER])


class _Window(NamedTuple):
    """What the SR pixels of one LR pixel see, before some conv of a tail.

    weights: (outputs, channels, n, n) in float64, for positions that begin `start` before the LR pixel. factor: of the
    positions along an axis to LR pixels.
    """

    weights: npt.NDArray[np.float64]
    start: int
    factor: int

    def inside(self, rows: tuple[int, int], columns: tuple[int, int]) -> "_Window":
        """Without weights of positions beyond the image. rows, columns: one of `EDGE_CASES` each."""
        kept = np.outer(*(self._exist(length, at) for length, at in (rows, columns)))
        return self._replace(weights=self.weights * kept)

    def _exist(self, length: int, at: int) -> npt.NDArray[np.bool_]:
        positions = at * self.factor - self.start + np.arange(self.weights.shape[-1])
        exist: npt.NDArray[np.bool_] = (positions >= 0) & (positions < length * self.factor)
        return exist

    def unshuffled(self, factor: int) -> "_Window":
        """Before a PixelShuffle."""
        start = -(-self.start // factor)
        before = start * factor - self.start
        behind = -(self.weights.shape[-1] + before) % factor
        weights = np.pad(self.weights, ((0, 0), (0, 0), (before, behind), (before, behind)))
        outputs, channels, side, _ = weights.shape
        parts = weights.reshape(outputs, channels, side // factor, factor, side // factor, factor)
        flat = parts.transpose(0, 1, 3, 5, 2, 4).reshape(outputs, -1, side // factor, side // factor)
        return _Window(flat, start, self.factor // factor)

    def before(self, conv: ConvWeights) -> "_Window":
        """Before a 3x3 conv."""
        outputs, channels, side, _ = self.weights.shape
        positions = self.weights.transpose(0, 2, 3, 1).reshape(-1, channels)
        taps = np.asarray(conv.weight, np.float64).transpose(0, 2, 3, 1)
        seen = np.zeros((len(positions), taps[0].size))
        used = positions.any(axis=1)  # a quarter of them at x4
        seen[used] = positions[used] @ taps.reshape(channels, -1)
        parts = seen.reshape(outputs, side, side, *taps.shape[1:])
        weights = np.zeros((outputs, side + 2, side + 2, taps.shape[-1]))
        for row, column in np.ndindex(3, 3):
            weights[:, row : row + side, column : column + side] += parts[:, :, :, row, column]
        return self._replace(weights=weights.transpose(0, 3, 1, 2), start=self.start + 1)


def _folded(tail: ShuffleTail, rows: tuple[int, int], columns: tuple[int, int]) -> ConvWeights:
    """The conv for one edge case."""
    scale, outputs = tail.scale, len(tail.last.bias)
    pixels = np.eye(outputs * scale**2).reshape(-1, outputs, scale, scale)
    window, bias = _Window(pixels, 0, scale), np.zeros(len(pixels))
    for conv, factor in zip((tail.last, *reversed(tail.convs)), (1, *reversed(tail.factors)), strict=True):
        window = window.unshuffled(factor)
        bias += window.weights.sum(axis=(2, 3)) @ np.asarray(conv.bias, np.float64)
        window = window.before(conv).inside(rows, columns)
    assert window.weights.shape[-1] == SIDE
    return ConvWeights(np.ascontiguousarray(window.weights, np.float32), bias.astype(np.float32))
