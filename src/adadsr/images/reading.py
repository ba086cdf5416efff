"""File -> Picture. Untrusted bytes: only the loader of the recognised format sees them."""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyvips

from adadsr.errors import ImageFileError, InputError
from adadsr.images.formats import AVIF, HEAD_BYTES, TIFF, Format, format_of_content, is_animated
from adadsr.images.metadata import cmyk_to_srgb, fitting_profile, upright_xmp
from adadsr.images.picture import Picture, Pixels, upright
from adadsr.images.tiffexif import read_tiff_exif
from adadsr.images.vips import MM_PER_INCH, reason

DEFAULT_MAX_PIXELS = 178_000_000

_LOSSY_GRAY_TOLERANCE = 1  # lossy WebP of a gray picture is off by one in red and blue
_BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4, 5)}


def read_image(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF or AVIF file as an upright Picture.

    Samples up to 8 bits become 8 bits, more become 16 over the full range. Palettes become RGB(A), 1-bit
    pixels gray; CMYK becomes sRGB through its profile. WebP, AVIF and palette PNG hold gray as RGB: they
    come back as gray where the three channels agree (within 1 in WebP and AVIF) and there is no profile.
    A profile that does not fit the channels is dropped.

    max_pixels: limit on the declared height x width, checked before anything is decoded.
    Raises ImageFileError naming the file: missing, empty, truncated, damaged, mislabelled, animated, over the
    limit, or samples that are not 8 or 16 bit gray, RGB or CMYK.
    """
    with _opened(path, max_pixels) as (image, content, file):
        picture = _decode(image, content)
        return replace(picture, exif=read_tiff_exif(file)) if content is TIFF else picture


def read_size(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """(height, width) in pixels of the upright picture in a file, from its header: nothing is decoded.

    Raises ImageFileError as `read_image` does, for all that a header can tell.
    """
    with _opened(path, max_pixels) as (image, _, _):
        swapped = (_field(image, "orientation") or 1) >= 5
        return (image.width, image.height) if swapped else (image.height, image.width)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], max_pixels: int) -> Iterator[tuple[Any, Format, BinaryIO]]:
    """The undecoded vips image of a file, whose header was checked, with its format and the file itself."""
    if max_pixels < 1:
        raise InputError(f"max_pixels is {max_pixels}; it has to be at least 1")
    name = os.fspath(path)
    with _open(name) as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise ImageFileError(f"{name}: the file is empty; give an image")
        content = format_of_content(name, head)
        animated = is_animated(file, content, head)
        file.seek(0)
        try:
            source = pyvips.Source.new_from_descriptor(file.fileno())
            image = getattr(pyvips.Image, content.loader)(source, access="sequential", fail_on="error")
            _check_header(name, image, content, animated, max_pixels)
            yield image, content, file
        except pyvips.Error as error:
            raise ImageFileError(
                f"{name}: truncated or damaged {content.name} ({reason(error)}); get a whole copy of the file"
            ) from error


def _open(name: str) -> BinaryIO:
    """Open a regular file without buffering, since libvips reads from its descriptor."""
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise ImageFileError(f"{name}: this is a folder; give an image file")
        if not stat.S_ISREG(mode):
            raise ImageFileError(f"{name}: this is not a regular file; give an image file")
        return open(name, "rb", buffering=0)
    except FileNotFoundError:
        raise ImageFileError(f"{name}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ImageFileError(f"{name}: cannot be opened ({cause}); check the path and its permissions") from error


def _check_header(name: str, image: Any, content: Format, animated: bool, max_pixels: int) -> None:
    """Refuse by what the header declares, before any pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise ImageFileError(
            f"{name}: {image.width}x{image.height} is over the limit of {max_pixels / 1e6:.4g} megapixels; "
            "pass --max-pixels to allow it"
        )
    pages = _field(image, "n-pages") or 1
    if animated or pages > 1:
        what = f"{pages} pages or frames" if pages > 1 else "an animation"
        raise ImageFileError(f"{name}: the file holds {what}; single pictures are read; extract one frame")
    if image.format not in ("uchar", "ushort"):
        raise ImageFileError(
            f"{name}: the samples are of type {image.format}; unsigned 8 and 16 bit samples are read; convert it"
        )
    if image.bands not in _BANDS.get(image.interpretation, ()):
        raise ImageFileError(
            f"{name}: {image.bands} channels of {image.interpretation} were found; gray, RGB and CMYK "
            "are read, each with or without alpha; convert it"
        )


def _decode(image: Any, content: Format) -> Picture:
    profile, xmp = _field(image, "icc-profile-data"), _field(image, "xmp-data")
    palette = bool(_field(image, "palette"))
    orientation = _field(image, "orientation") or 1
    dpi = _dpi(image, swapped=orientation >= 5)
    exif, bits = _field(image, "exif-data"), _field(image, "bits-per-sample")
    if image.interpretation == "cmyk":
        image, profile = cmyk_to_srgb(image), None
    pixels: Pixels = image.numpy()
    pixels = pixels.reshape(image.height, image.width, image.bands)
    if content is AVIF and bits in (10, 12):
        _spread(pixels, bits)
    if (palette or not content.has_gray) and profile is None:
        pixels = _gray_if_equal(pixels, tolerance=0 if palette else _LOSSY_GRAY_TOLERANCE)
    pixels = upright(pixels, orientation)
    profile = fitting_profile(profile, gray=pixels.shape[2] <= 2)
    return Picture(pixels, profile, exif, upright_xmp(xmp), dpi)


def _field(image: Any, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _dpi(image: Any, swapped: bool) -> tuple[float, float] | None:
    """libvips says one pixel a millimetre where the file says nothing."""
    if image.xres == 1.0 and image.yres == 1.0:
        return None
    dpi = (image.xres * MM_PER_INCH, image.yres * MM_PER_INCH)
    return (dpi[1], dpi[0]) if swapped else dpi


def _spread(pixels: Pixels, bits: int) -> None:
    """Spread samples that libvips put into the upper `bits` of 16 over 0..65535, in place."""
    top = 2**bits - 1
    for row in pixels:
        sample = (row >> (16 - bits)).astype(np.uint32)
        row[...] = (sample * 65535 + top // 2) // top


def _gray_if_equal(pixels: Pixels, tolerance: int) -> Pixels:
    """RGB(A) pixels as gray (with alpha) where no pixel's three colour channels differ by more than `tolerance`."""
    if pixels.shape[2] < 3:
        return pixels
    for row in pixels[..., :3]:
        if (row.max(1) - row.min(1) > tolerance).any():
            return pixels
    return pixels[..., [1, 3]] if pixels.shape[2] == 4 else pixels[..., 1:2]
