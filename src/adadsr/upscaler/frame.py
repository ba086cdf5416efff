"""How a picture is continued beyond its border: networks pad with zeros, which would leave a dark edge."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends import as_squares
from adadsr.geometry import Box
from adadsr.graph import Array, NetworkWeights

BORDERS = ("reflect", "zero")
"""reflect: mirrored at the outermost pixels. zero: not continued, so that networks see zeros; as in the literature."""
REFLECTED = 4
"""LR pixels that a picture is continued by. With these, constant pictures stay constant, and the outermost row of a
photo is about as exact as its other rows."""


class Frame(NamedTuple):
    """A picture of height x width LR pixels, continued by `border` pixels on each side.

    Networks run on the frame, whose coordinates begin at the border. A border is a multiple of the depth map's tiles.
    square: side of the squares of the image's pixels that the network sees as one LR pixel.
    """

    height: int
    width: int
    border: int
    square: int = 1

    @classmethod
    def of(cls, height: int, width: int, border: str, network: NetworkWeights) -> "Frame":
        """height, width: of the image. border: one of `BORDERS`."""
        unit, square = network.depth_tile, network.square
        pixels = 0 if border == "zero" else -(-REFLECTED // (unit * square)) * unit
        return cls(-(-height // square), -(-width // square), pixels, square)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) with the border."""
        return self.height + 2 * self.border, self.width + 2 * self.border

    @property
    def box(self) -> Box:
        """All of the frame."""
        return Box(0, 0, *self.size)

    @property
    def picture(self) -> Box:
        """The picture in it."""
        return Box(self.border, self.border, self.border + self.height, self.border + self.width)

    def extended(self, lr: Array) -> Array:
        """The image, (H, W, 3), with its border, (h, w, 3 * square^2); its last squares are completed by reflection."""
        if not self.border and self.square == 1:
            return lr
        sizes = zip(lr.shape[:2], (self.height, self.width), strict=True)
        rows, columns = (
            reflected(side, self.border * self.square, (self.border + whole) * self.square) for side, whole in sizes
        )
        return as_squares(lr[rows][:, columns], self.square)

    def extended_map(self, depth_map: npt.NDArray[np.float32], depth_tile: int) -> npt.NDArray[np.float32]:
        """A depth map of the picture, (G, h, w), for the frame: the border is as deep as the tile next to it."""
        tiles = self.border // depth_tile
        return np.pad(depth_map, ((0, 0), (tiles, tiles), (tiles, tiles)), mode="edge") if tiles else depth_map


def reflected(side: int, before: int, after: int) -> list[int]:
    """Index of the pixel that is seen at -before, ..., after - 1, reflected as often as necessary."""
    period = max(1, 2 * (side - 1))
    return [min(index % period, period - index % period) for index in range(-before, after)]
