"""Rectangles of pixels."""

from typing import NamedTuple

from torch import Tensor


class Box(NamedTuple):
    """A rectangle of pixels: rows top..bottom and columns left..right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def scaled(self, factor: int) -> "Box":
        """The same rectangle in an image enlarged by `factor`."""
        return Box(*(edge * factor for edge in self))

    def coarse(self, tile: int) -> "Box":
        """The same rectangle counted in tiles of `tile` pixels; starts at a tile, a partial last tile counts."""
        return Box(self.top // tile, self.left // tile, -(-self.bottom // tile), -(-self.right // tile))

    def relative_to(self, other: "Box") -> "Box":
        """The same rectangle counted from the top left of `other`."""
        return Box(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def grown(self, margin: int, within: "Box") -> "Box":
        """The rectangle with `margin` more pixels on each side, clipped to `within`."""
        return Box(
            max(within.top, self.top - margin),
            max(within.left, self.left - margin),
            min(within.bottom, self.bottom + margin),
            min(within.right, self.right + margin),
        )

    def of(self, image: Tensor) -> Tensor:
        """That part of an image (..., H, W), a view."""
        return image[..., self.top : self.bottom, self.left : self.right]
