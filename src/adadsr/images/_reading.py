"""File or bytes -> Picture. Bytes are untrusted: only the loader of the recognised format sees them."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import pyvips

from adadsr.errors import ImageFileError, InputError
from adadsr.formats import FORMATS, HEAD_BYTES, SUPPORTED_SUFFIXES, Format, find_format, joined, recognise, suffix_of
from adadsr.images._metadata import cmyk_to_srgb, fitting_profile, upright_xmp
from adadsr.images._picture import Picture, Pixels, upright
from adadsr.images._tiffexif import read_tiff_exif
from adadsr.images._vips import MM_PER_INCH, field, no_warnings, reason

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the content of a file, or an open binary file, which is read to the end."""
DEFAULT_MAX_PIXELS = 178_000_000

_LOSSY_GRAY_TOLERANCE = 1  # lossy WebP of a gray picture is off by one in red and blue
_BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4, 5)}


@no_warnings()
def read_image(source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read an image of one of `formats.FORMATS` as an upright Picture.

    Samples of up to 8 bits become 8 bits, deeper ones 16 bits over the full range. Palettes become RGB(A), 1-bit pixels
    gray; CMYK becomes sRGB through its profile. WebP, AVIF and palette PNG store gray as RGB: it is gray again if the
    three channels are equal (within 1 in WebP and AVIF) and there is no profile. A profile that does not fit the
    channels is dropped.

    Args:
        source: a path, whose suffix must match the content; bytes; or an open binary file.
        max_pixels: limit on the declared height x width, checked before anything is decoded.

    Raises:
        ImageFileError: the file is missing, empty, truncated, corrupt, mislabelled, animated or over the limit, or its
            samples are not 8- or 16-bit gray, RGB or CMYK. The message names the file.
        InputError: max_pixels is below 1, or the source is of another type.
    """
    with _opened(source, max_pixels) as (image, content, file):
        picture = _decode(image, content)
        return replace(picture, exif=read_tiff_exif(file)) if content.exif_in_directory else picture


@no_warnings()
def read_size(source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Height and width in pixels of the upright picture, from the header: nothing is decoded.

    Args:
        source: as for `read_image`.
        max_pixels: as for `read_image`.

    Raises:
        ImageFileError, InputError: as for `read_image`, as far as the header tells.
    """
    with _opened(source, max_pixels) as (image, _, _):
        swapped = (field(image, "orientation") or 1) >= 5
        return (image.width, image.height) if swapped else (image.height, image.width)


class _Opened(NamedTuple):
    """An undecoded vips image with a checked header, its format, and the file that contains it."""

    image: Any
    content: Format
    file: BinaryIO


@contextlib.contextmanager
def _opened(source: ImageSource, max_pixels: int) -> Iterator[_Opened]:
    """The one door for untrusted bytes."""
    if max_pixels < 1:
        raise InputError(f"max_pixels={max_pixels} must be at least 1")
    name, opened = _open(source)
    with opened as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise ImageFileError(f"{name}: empty file; pass an image")
        content = _format(name, head, has_suffix=isinstance(source, str | os.PathLike))
        animated = content.is_animated(file)
        file.seek(0)
        try:
            load = getattr(pyvips.Image, f"{content.codec}load_source")
            image = load(_vips_source(file), access="sequential", fail_on="error")
            _check_header(name, image, animated, max_pixels)
            yield _Opened(image, content, file)
        except pyvips.Error as error:
            raise ImageFileError(
                f"{name}: truncated or corrupt {content.name} ({reason(error)}); get a complete copy"
            ) from error


def _open(source: ImageSource) -> tuple[str, BinaryIO]:
    """Name of the source for messages, and a seekable file."""
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return name, _open_path(name)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>", io.BytesIO(source)
    content = source.read() if hasattr(source, "read") else None
    if not isinstance(content, bytes):
        raise InputError(f"expected a path, bytes or a file open in binary mode, got {type(source).__name__}")
    label = getattr(source, "name", None)
    return label if isinstance(label, str) else "<file>", io.BytesIO(content)


def _open_path(name: str) -> BinaryIO:
    """Open a regular file without buffering, since libvips reads from its descriptor."""
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise ImageFileError(f"{name}: is a folder; pass an image file")
        if not stat.S_ISREG(mode):
            raise ImageFileError(f"{name}: not a regular file; pass an image file")
        return open(name, "rb", buffering=0)
    except FileNotFoundError:
        raise ImageFileError(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ImageFileError(f"{name}: cannot open ({cause}); check the path and its permissions") from error


def _vips_source(file: BinaryIO) -> Any:
    if isinstance(file, io.BytesIO):
        return pyvips.Source.new_from_memory(file.getvalue())
    return pyvips.Source.new_from_descriptor(file.fileno())


def _format(name: str, head: bytes, *, has_suffix: bool) -> Format:
    """The format of a file that begins with `head`; a suffix must match it."""
    content, known = recognise(head), joined(each.name for each in FORMATS)
    if content is None:
        raise ImageFileError(f"{name}: the content is not {known}; convert it to one of these")
    suffix = suffix_of(name) if has_suffix else ""
    if not suffix or suffix in content.suffixes:
        return content
    if suffix not in SUPPORTED_SUFFIXES:
        raise ImageFileError(f"{name}: {suffix} files cannot be read; convert it to {known}")
    right = os.path.splitext(os.path.basename(name))[0] + content.suffixes[0]
    raise ImageFileError(f"{name}: the content is {content.name}, not {find_format(suffix).name}; rename it to {right}")


def _check_header(name: str, image: Any, animated: bool, max_pixels: int) -> None:
    """Refuse an image by its header, before any pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise ImageFileError(
            f"{name}: {image.width}x{image.height} is over the limit of {max_pixels / 1e6:.4g} megapixels; "
            "pass --max-pixels to allow it"
        )
    pages = field(image, "n-pages") or 1
    if animated or pages > 1:
        what = f"has {pages} pages or frames" if pages > 1 else "is animated"
        raise ImageFileError(f"{name}: {what}; only still images are supported; extract one frame")
    if image.format not in ("uchar", "ushort"):
        raise ImageFileError(
            f"{name}: has {image.format} samples; only unsigned 8- and 16-bit samples are supported; convert it"
        )
    if image.bands not in _BANDS.get(image.interpretation, ()):
        raise ImageFileError(
            f"{name}: has {image.bands} channels ({image.interpretation}); only gray, RGB and CMYK, with or without "
            "alpha, are supported; convert it"
        )


def _decode(image: Any, content: Format) -> Picture:
    profile, xmp, exif = (field(image, name) for name in ("icc-profile-data", "xmp-data", "exif-data"))
    palette, bits = bool(field(image, "palette")), field(image, "bits-per-sample")
    orientation = field(image, "orientation") or 1
    dpi = _dpi(image, swapped=orientation >= 5)
    if image.interpretation == "cmyk":
        image, profile = cmyk_to_srgb(image), None
    pixels: Pixels = image.numpy()
    pixels = pixels.reshape(image.height, image.width, image.bands)
    if content.codec == "heif" and bits in (10, 12):
        _spread(pixels, bits)
    if (palette or not content.has_gray) and profile is None:
        pixels = _gray_if_equal(pixels, tolerance=0 if palette else _LOSSY_GRAY_TOLERANCE)
    pixels = upright(pixels, orientation)
    profile = fitting_profile(profile, gray=pixels.shape[2] <= 2)
    return Picture(pixels, profile, exif, upright_xmp(xmp), dpi)


def _dpi(image: Any, swapped: bool) -> tuple[float, float] | None:
    """Pixels per inch; None if libvips reports one pixel per millimetre, its default for files that do not say."""
    if image.xres == 1.0 and image.yres == 1.0:
        return None
    dpi = (image.xres * MM_PER_INCH, image.yres * MM_PER_INCH)
    return (dpi[1], dpi[0]) if swapped else dpi


def _spread(pixels: Pixels, bits: int) -> None:
    """Rescale samples in the upper `bits` of 16, where libvips puts them, to 0..65535, in place."""
    top = 2**bits - 1
    for row in pixels:
        sample = (row >> (16 - bits)).astype(np.uint32)
        row[...] = (sample * 65535 + top // 2) // top


def _gray_if_equal(pixels: Pixels, tolerance: int) -> Pixels:
    """RGB(A) pixels as gray (with alpha) if no pixel's colour channels differ by more than `tolerance`."""
    if pixels.shape[2] < 3:
        return pixels
    for row in pixels[..., :3]:
        if (row.max(1) - row.min(1) > tolerance).any():
            return pixels
    return pixels[..., [1, 3]] if pixels.shape[2] == 4 else pixels[..., 1:2]
