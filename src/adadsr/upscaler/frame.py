"""How a picture is continued beyond its border: networks pad with zeros, which would leave a dark edge."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.geometry import Box
from adadsr.graph import Array

BORDERS = ("reflect", "zero")
"""reflect: mirrored at the outermost pixels. zero: not continued, so that networks see zeros; as in the literature."""
REFLECTED = 4
"""LR pixels that a picture is continued by. With these, constant pictures stay constant, and the outermost row of a
photo is about as exact as its other rows."""


class Frame(NamedTuple):
    """A picture of height x width LR pixels, continued by `border` pixels on each side.

    Networks run on the frame, whose coordinates begin at the border. A border is a multiple of the depth map's tiles.
    """

    height: int
    width: int
    border: int

    @classmethod
    def of(cls, height: int, width: int, border: str, depth_tile: int) -> "Frame":
        """border: one of `BORDERS`."""
        pixels = 0 if border == "zero" else -(-REFLECTED // depth_tile) * depth_tile
        return cls(height, width, pixels)

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
        """The picture, (H, W, 3), with its border."""
        if not self.border:
            return lr
        rows, columns = (reflected(side, self.border) for side in (self.height, self.width))
        return lr[rows][:, columns]

    def extended_map(self, depth_map: npt.NDArray[np.float32], depth_tile: int) -> npt.NDArray[np.float32]:
        """A depth map of the picture, (G, h, w), for the frame: the border is as deep as the tile next to it."""
        tiles = self.border // depth_tile
        return np.pad(depth_map, ((0, 0), (tiles, tiles), (tiles, tiles)), mode="edge") if tiles else depth_map


def reflected(side: int, border: int) -> list[int]:
    """Index of the pixel that is seen at -border, ..., side + border - 1, reflected as often as necessary."""
    period = max(1, 2 * (side - 1))
    return [min(index % period, period - index % period) for index in range(-border, side + border)]
