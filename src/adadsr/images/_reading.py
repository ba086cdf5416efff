"""File or bytes -> Picture. Bytes are untrusted: only the loader of the recognised format sees them."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, TypeAlias

from adadsr.errors import ImageFileError, InputError, cause_of
from adadsr.formats import HEAD_BYTES, INPUT_FORMATS, InputFormat, input_format_of, joined, recognise, suffix_of
from adadsr.images._decoding import decoder_of
from adadsr.images._frames import Frames, frames_of
from adadsr.images._lossy import lossy_format
from adadsr.images._opened import Opened
from adadsr.images._picture import Picture
from adadsr.images._vips import no_warnings

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the content of a file, or an open binary file, which is read to the end."""
DEFAULT_MAX_PIXELS = 178_000_000


@no_warnings()
def read_image(
    source: ImageSource,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    accept_damaged: bool = False,
    page: int | None = None,
) -> Picture:
    """Read an image of one of `formats.INPUT_FORMATS` as an upright Picture.

    Samples of up to 8 bits become 8 bits, deeper ones 16 bits over the full range. Palettes become RGB(A), 1-bit pixels
    gray; CMYK becomes sRGB through its profile, L*a*b* without one. WebP, AVIF and palette PNG store gray as RGB: it is
    gray again if the three channels are equal (within 1 in WebP and AVIF) and there is no profile. A profile that does
    not fit the channels is dropped.

    Args:
        source: a path, bytes, or an open binary file. If the suffix does not match the content, a note says so.
        max_pixels: limit on the declared height x width, checked before anything is decoded.
        accept_damaged: take what can be decoded of a damaged PNG, JPEG or TIFF; `Picture.damage` says what is wrong.
        page: of a TIFF, not counting thumbnails, or frame of an animation, from 1. None refuses a file with several.

    Raises:
        ImageFileError: the file is missing, empty, truncated, corrupt or over the limit, has several pages or frames,
            needs a library that is not installed, or has samples that are not 8- or 16-bit gray, RGB, CMYK or L*a*b*.
            The message names it.
        InputError: max_pixels or page is below 1, or the source is of another type.
    """
    with _opened(source, max_pixels, _checked(page)) as (opened, notes):
        decoder = decoder_of(opened, page)
        picture = decoder.picture(accept_damaged)
        return replace(picture, notes=(*notes, *picture.notes), lossy_format=opened.lossy_format)


@no_warnings()
def read_size(source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS, page: int | None = None) -> tuple[int, int]:
    """Height and width in pixels of the upright picture, from the header: nothing is decoded.

    Args:
        source: as for `read_image`.
        max_pixels, page: as for `read_image`.

    Raises:
        ImageFileError, InputError: as for `read_image`, as far as the header tells.
    """
    with _opened(source, max_pixels) as (opened, _):
        return decoder_of(opened, _checked(page)).size()


@contextlib.contextmanager
def open_frames(source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Frames | None]:
    """An animation, whose frames are decoded one by one while the block runs; None for a still picture.

    Args:
        source, max_pixels: as for `read_image`.

    Raises:
        ImageFileError, InputError: as for `read_image`.
    """
    with no_warnings(), _opened(source, max_pixels) as (opened, _):
        yield frames_of(opened)


def _checked(page: int | None) -> int | None:
    if page is not None and page < 1:
        raise InputError(f"page={page} must be at least 1")
    return page


@contextlib.contextmanager
def _opened(source: ImageSource, max_pixels: int, page: int | None = None) -> Iterator[tuple[Opened, tuple[str, ...]]]:
    """The one door for untrusted bytes. page: whose loss is of interest."""
    if max_pixels < 1:
        raise InputError(f"max_pixels={max_pixels} must be at least 1")
    name, opened = _open(source)
    with opened as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise ImageFileError(f"{name}: empty file; pass an image")
        content, notes = _format(name, head, has_suffix=isinstance(source, str | os.PathLike))
        yield Opened(name, content, file, max_pixels, lossy_format(content, file, page or 1)), notes


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
            raise ImageFileError(f"{name}: not a regular file; pass an image file, or pipe its content to the input -")
        return open(name, "rb", buffering=0)
    except FileNotFoundError:
        what = "a link to a missing file; check the link" if os.path.islink(name) else "no such file; check the path"
        raise ImageFileError(f"{name}: {what}") from None
    except (OSError, ValueError) as error:
        cause = cause_of(error) if isinstance(error, OSError) else error
        raise ImageFileError(f"{name}: cannot open ({cause}); check the path and its permissions") from error


def _format(name: str, head: bytes, *, has_suffix: bool) -> tuple[InputFormat, tuple[str, ...]]:
    """The format of a file that begins with `head`, and a note if the suffix says another."""
    content, known = recognise(head), joined(each.name for each in INPUT_FORMATS)
    if content is None:
        raise ImageFileError(f"{name}: the content is not {known}; convert it to one of these")
    suffix = suffix_of(name) if has_suffix else ""
    if not suffix or suffix in content.suffixes:
        return content, ()
    other = input_format_of(suffix)
    if other is None and content.codec == "tiff":
        # Cameras' raw files are TIFFs, of which libvips would read the preview.
        raise ImageFileError(f"{name}: {suffix} files cannot be read; convert it to {known}")
    named = other.name if other is not None else suffix
    return content, (f"the content is {content.name}, not {named} as its name says",)
