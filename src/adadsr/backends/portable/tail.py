"""A tail with PixelShuffle as one conv in torch; the outermost pixels run by its definition."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from adadsr.geometry import Box
from adadsr.graph import ConvWeights, ShuffleTail
from adadsr.tensor_ops import OPS


class FoldedTail(NamedTuple):
    """Weights in torch. tail: the definition. folded: the same between the borders, see `tail_folding`."""

    tail: ShuffleTail
    folded: ConvWeights

    def run(self, z: Tensor, box: Box) -> Tensor:
        """SR of a rectangle of features (N, C, H, W), (N, 3, s*h, s*w)."""
        sr = self._part(z, box, lambda seen: F.pixel_shuffle(self.folded.run(OPS, seen), self.tail.scale))
        for edge in _edges(box, _whole(z)):
            exact = self._part(z, edge, lambda seen: self.tail.run(OPS, seen, seen))
            edge.relative_to(box).scaled(self.tail.scale).of(sr).copy_(exact)
        return sr

    def _part(self, z: Tensor, box: Box, run: Callable[[Tensor], Tensor]) -> Tensor:
        """SR of a rectangle by a conv or convs that see no further than the tail."""
        region = box.grown(self.tail.reach, _whole(z))
        part: Tensor = box.relative_to(region).scaled(self.tail.scale).of(run(region.of(z)))
        return part


def _whole(z: Tensor) -> Box:
    return Box(0, 0, *z.shape[-2:])


def _edges(box: Box, whole: Box) -> list[Box]:
    """The outermost pixels of an image that lie in a rectangle, as rows and columns."""
    top, left, bottom, right = box
    rows = [Box(row, left, row + 1, right) for row in {0, whole.bottom - 1} if top <= row < bottom]
    columns = [Box(top, column, bottom, column + 1) for column in {0, whole.right - 1} if left <= column < right]
    return rows + columns
