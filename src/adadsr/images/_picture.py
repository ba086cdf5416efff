"""A decoded picture: pixels and their metadata."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.images._cicp import Cicp
from adadsr.images._pngcolor import PngColor

Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Extra:
    """Metadata that not every format has.

    Attributes:
        aspect: horizontal and vertical pixels per unknown length, of which only the ratio means something.
        texts: keywords and texts of a PNG; comments of a JPEG have the keyword `Comment`.
        photoshop: Photoshop image resources, with IPTC.
        geotiff: GeoTIFF tags, as a TIFF without pixels.
        cicp: colour by code points, if they are not those of sRGB. `icc_profile` is an equivalent.
        png_color: gAMA and cHRM of a PNG, if they count and are not those of sRGB. `icc_profile` is an equivalent.
        png_light: kinds and data of chunks about the light of an HDR picture, mDCV and cLLI.
        described_size: width and height that the metadata describe; None for those of the picture.
    """

    aspect: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    photoshop: bytes | None = None
    geotiff: bytes | None = None
    cicp: Cicp | None = None
    png_color: PngColor | None = None
    png_light: tuple[tuple[bytes, bytes], ...] = ()
    described_size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture with straight (not premultiplied) alpha, and its metadata.

    `dataclasses.replace(picture, pixels=...)` transfers the metadata to other pixels.

    Attributes:
        pixels: (H, W, C) uint8 or uint16 over their full range; C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA. The array
            is not copied.
        icc_profile, exif, xmp: as in the file, with orientation 1 and no thumbnail. They are written with the size of
            the output.
        dpi: horizontal and vertical pixels per inch.
        extra: other metadata.
        notes: what reading left out or had to assume, in words for the user.
        damage: what was wrong with a damaged file of which only a part was decoded; None for a whole one.
        lossy_format: name of the format that compressed the samples with loss, such as JPEG; None if none is known.

    Raises:
        InputError: pixels of another shape or type.
    """

    pixels: Pixels
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    extra: Extra = Extra()
    notes: tuple[str, ...] = ()
    damage: str | None = None
    lossy_format: str | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise InputError(f"expected uint8 (0..255) or uint16 (0..65535) pixels, got {dtype}; convert them")
        if len(shape) != 3 or not 1 <= shape[2] <= 4 or 0 in shape:
            raise InputError(
                f"pixels have shape {tuple(shape)}; pass (height, width, channels), not empty, with 1 to 4 channels"
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
        """Bits per sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def is_gray(self) -> bool:
        """Whether there is one colour channel, with or without alpha."""
        return bool(self.pixels.shape[2] <= 2)

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return bool(self.pixels.shape[2] % 2 == 0)

    @property
    def is_transparent(self) -> bool:
        """Whether at least one pixel is not fully opaque."""
        return self.has_alpha and int(self.pixels[..., -1].min()) < np.iinfo(self.pixels.dtype).max
