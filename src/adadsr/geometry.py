"""Rectangles of pixels."""

from typing import Any, NamedTuple


class Box(NamedTuple):
    """A rectangle of pixels: rows top..bottom and columns left..right, ends excluded."""

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

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, factor: int) -> "Box":
        """The same rectangle in an image upscaled by `factor`."""
        return Box(*(edge * factor for edge in self))

    def coarse(self, tile: int) -> "Box":
        """The same rectangle in units of `tile` pixels; it starts at a whole tile, and a partial last tile counts."""
        return Box(self.top // tile, self.left // tile, -(-self.bottom // tile), -(-self.right // tile))

    def relative_to(self, other: "Box") -> "Box":
        """The same rectangle relative to the top left corner of `other`."""
        return Box(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def grown(self, margin: int, within: "Box") -> "Box":
        """The rectangle with `margin` more pixels on each side, clipped to `within`."""
        return Box(
            max(within.top, self.top - margin),
            max(within.left, self.left - margin),
            min(within.bottom, self.bottom + margin),
            min(within.right, self.right + margin),
        )

    def of(self, image: Any) -> Any:
        """View of this part of an array or tensor (..., H, W)."""
        rows, columns = self.slices
        return image[..., rows, columns]
