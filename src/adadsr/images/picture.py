"""A decoded picture: pixels with the metadata that travels with them."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError

Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

# EXIF orientation -> (swap rows with columns, then reverse rows, then reverse columns)
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture with straight (not premultiplied) alpha.

    pixels: (H, W, C), uint8 or uint16 over their full range; C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA.
    The array is not copied. icc_profile, exif, xmp: as they stood in the file; when a file is written, its
    EXIF gets the new size, orientation 1 and no thumbnail. dpi: (horizontal, vertical) pixels an inch.
    Raises InputError where pixels are something else.
    """

    pixels: Pixels
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise InputError(
                f"pixels of type {dtype} were given; uint8 (0..255) and uint16 (0..65535) are allowed; convert them"
            )
        if len(shape) != 3 or not 1 <= shape[2] <= 4 or 0 in shape:
            raise InputError(
                f"pixels of shape {tuple(shape)} were given; (height, width, channels) with 1 to 4 channels "
                "and at least one pixel is allowed; put the channels last"
            )

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def bits(self) -> int:
        """Bits of one sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def is_gray(self) -> bool:
        """True for one colour channel, with or without alpha."""
        return bool(self.pixels.shape[2] <= 2)

    @property
    def has_alpha(self) -> bool:
        """True where the last channel is alpha."""
        return bool(self.pixels.shape[2] % 2 == 0)

    @property
    def is_transparent(self) -> bool:
        """True where at least one pixel is not fully opaque."""
        return self.has_alpha and int(self.pixels[..., -1].min()) < np.iinfo(self.pixels.dtype).max


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels (H, W, C) the way the EXIF tag `orientation` says; outside 1..8 it counts as 1."""
    swap, reverse_rows, reverse_columns = _ORIENTATIONS.get(orientation, _ORIENTATIONS[1])
    if swap:
        pixels = pixels.swapaxes(0, 1)
    if reverse_rows:
        pixels = pixels[::-1]
    if reverse_columns:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
