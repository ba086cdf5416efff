"""Supported file formats, one complete row each. Imports no image library.

A new format is one row of FORMATS, or of INPUT_FORMATS if it is only read: suffixes, error messages, the command's
choices and the tests follow from it.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from adadsr.errors import ImageFileError, InputError
from adadsr.formats._save_options import (
    Encoding,
    Options,
    avif_options,
    gif_options,
    jpeg_options,
    png_options,
    tiff_options,
    webp_options,
)
from adadsr.formats._signatures import (
    HEAD_BYTES,
    JP2_SIGNATURE,
    JXL_SIGNATURE,
    PNG_SIGNATURE,
    TIFF_SIGNATURES,
    begins_with,
    has_animation_chunk,
    is_avif,
    is_bmp,
    is_heic,
    is_image_sequence,
    is_pnm,
    is_webp,
)

__all__ = [
    "ANIMATED_FORMATS",
    "FORMATS",
    "HEAD_BYTES",
    "INPUT_FORMATS",
    "PNG_SIGNATURE",
    "READABLE_SUFFIXES",
    "SUPPORTED_SUFFIXES",
    "Encoding",
    "Format",
    "InputFormat",
    "find_format",
    "format_for_writing",
    "input_format_of",
    "is_image_file",
    "joined",
    "recognise",
    "suffix_of",
]

_ANY_SIDE = 2**31 - 1


@dataclass(frozen=True, eq=False, kw_only=True)
class InputFormat:
    """One file format that can be read.

    Attributes:
        name: as people write it.
        suffixes: lower case, with the dot; the first is the usual one.
        matches: whether the first HEAD_BYTES of a file are of this format.
        is_animated: whether an open file is an animation that its decoder would read as a still picture.
        codec: libvips reads with `<codec>load_source`, unless `images` has a decoder of its own for it.
        has_gray: whether single-channel gray can be stored.
        strictness: libvips' `fail_on`, so that no error of its decoder passes as pixels and no healthy file is refused.
        decodes_damaged: whether a part of a damaged file can be decoded.
        needs_extra: whether it takes a library of the extra `formats`.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    codec: str
    has_gray: bool
    strictness: str = "error"
    decodes_damaged: bool = False
    needs_extra: bool = False
    is_animated: Callable[[BinaryIO], bool] = lambda file: False


@dataclass(frozen=True, eq=False, kw_only=True)
class Format(InputFormat):
    """One file format that can be read and written.

    Attributes:
        save_options: options of libvips' `<codec>save_target`, chosen to write a megapixel in less than about a second.
        bits: maximum bits per sample.
        max_side: longest side in pixels.
        has_alpha: whether alpha can be stored.
        default_quality: 1..100; None if files are lossless at any quality.
        is_lossless_at_100: whether quality 100 makes a file lossless.
        has_palette: whether a picture has at most 256 colours and no partial transparency. Stills are not written then.
        encoder_copies: memory that encoding takes besides the samples, as a multiple of their bytes.
    """

    save_options: Callable[[Encoding], Options]
    bits: int
    max_side: int
    has_alpha: bool
    encoder_copies: float
    default_quality: int | None = None
    is_lossless_at_100: bool = False
    has_palette: bool = False

    @property
    def is_lossless(self) -> bool:
        """Whether every file of this format is lossless."""
        return self.default_quality is None and not self.has_palette


FORMATS = (
    Format(
        name="PNG",
        suffixes=(".png", ".apng"),
        matches=begins_with(PNG_SIGNATURE),
        is_animated=has_animation_chunk,
        codec="png",
        save_options=png_options,
        encoder_copies=0.5,
        bits=16,
        max_side=_ANY_SIDE,
        has_gray=True,
        has_alpha=True,
        decodes_damaged=True,
    ),
    Format(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        matches=begins_with(b"\xff\xd8\xff"),
        codec="jpeg",
        save_options=jpeg_options,
        encoder_copies=3.5,
        bits=8,
        max_side=65500,
        has_gray=True,
        has_alpha=False,
        default_quality=95,
        strictness="warning",
        decodes_damaged=True,
    ),
    Format(
        name="WebP",
        suffixes=(".webp",),
        matches=is_webp,
        codec="webp",
        save_options=webp_options,
        encoder_copies=10.5,
        bits=8,
        max_side=16383,
        has_gray=False,
        has_alpha=True,
        default_quality=95,
        is_lossless_at_100=True,
    ),
    Format(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        matches=begins_with(*TIFF_SIGNATURES),
        codec="tiff",
        save_options=tiff_options,
        encoder_copies=0.5,
        bits=16,
        max_side=_ANY_SIDE,
        has_gray=True,
        has_alpha=True,
        strictness="warning",
        decodes_damaged=True,
    ),
    Format(
        name="AVIF",
        suffixes=(".avif",),
        matches=is_avif,
        is_animated=is_image_sequence,
        codec="heif",
        save_options=avif_options,
        encoder_copies=11,
        bits=12,
        max_side=16384,
        has_gray=False,
        has_alpha=True,
        default_quality=90,
        is_lossless_at_100=True,
    ),
)
"""Formats that can be written, in the order that messages and help texts list them."""

ANIMATED_FORMATS = (
    Format(
        name="GIF",
        suffixes=(".gif",),
        matches=begins_with(b"GIF87a", b"GIF89a"),
        codec="gif",
        save_options=gif_options,
        encoder_copies=2,
        bits=8,
        max_side=65535,
        has_gray=False,
        has_alpha=True,
        strictness="warning",
        has_palette=True,
    ),
)
"""Formats that are written for animations only."""

INPUT_FORMATS: tuple[InputFormat, ...] = (
    *FORMATS,
    *ANIMATED_FORMATS,
    InputFormat(
        name="PPM",
        suffixes=(".ppm", ".pgm", ".pbm", ".pnm"),
        matches=is_pnm,
        codec="pnm",
        has_gray=True,
    ),
    InputFormat(name="BMP", suffixes=(".bmp", ".dib"), matches=is_bmp, codec="bmp", has_gray=True),
    InputFormat(
        name="HEIC",
        suffixes=(".heic", ".heif", ".hif"),
        matches=is_heic,
        is_animated=is_image_sequence,
        codec="heic",
        has_gray=False,
        needs_extra=True,
    ),
    InputFormat(
        name="JPEG 2000",
        suffixes=(".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
        matches=begins_with(JP2_SIGNATURE, b"\xff\x4f\xff\x51"),
        codec="jpeg2000",
        has_gray=True,
        needs_extra=True,
    ),
    InputFormat(
        name="JPEG XL",
        suffixes=(".jxl",),
        matches=begins_with(JXL_SIGNATURE, b"\xff\x0a"),
        codec="jpegxl",
        has_gray=True,
        needs_extra=True,
    ),
)
"""Formats that can be read."""

_BY_SUFFIX = {suffix: each for each in (*FORMATS, *ANIMATED_FORMATS) for suffix in each.suffixes}
_INPUTS_BY_SUFFIX = {suffix: each for each in INPUT_FORMATS for suffix in each.suffixes}
SUPPORTED_SUFFIXES: tuple[str, ...] = tuple(_BY_SUFFIX)
"""Lower-case suffixes, with the dot, of files that can be written."""
READABLE_SUFFIXES: tuple[str, ...] = tuple(_INPUTS_BY_SUFFIX)
"""Lower-case suffixes, with the dot, of files that can be read."""


def joined(names: Iterable[str]) -> str:
    """Names joined for a sentence: `PNG, WebP or TIFF`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def suffix_of(name: str) -> str:
    """Suffix of a file name in lower case, with the dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an existing file with the suffix of a format that can be read; its content is not read."""
    return suffix_of(os.fspath(path)) in _INPUTS_BY_SUFFIX and os.path.isfile(path)


def find_format(name: str) -> Format:
    """The format of a name or suffix such as `png`, `JPEG`, `tif` or `.webp`. Raises InputError."""
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in _BY_SUFFIX:
        known = joined(each.removeprefix(".") for each in SUPPORTED_SUFFIXES)
        raise InputError(f"{name!r} is not an image format; use {known}")
    return _BY_SUFFIX[suffix]


def format_for_writing(name: str) -> Format:
    """The format selected by the suffix of the file `name`. Raises ImageFileError."""
    suffix = suffix_of(name)
    if suffix not in _BY_SUFFIX:
        given = f"the suffix {suffix}" if suffix else "a name without a suffix"
        raise ImageFileError(
            f"{name}: {given} does not say which format to write; use one of {', '.join(SUPPORTED_SUFFIXES)}"
        )
    return _BY_SUFFIX[suffix]


def recognise(head: bytes) -> InputFormat | None:
    """The format of a file that begins with `head`, its first HEAD_BYTES; None if it is not in INPUT_FORMATS."""
    return next((each for each in INPUT_FORMATS if each.matches(head)), None)


def input_format_of(suffix: str) -> InputFormat | None:
    """The format that can be read and has this suffix, in lower case with the dot."""
    return _INPUTS_BY_SUFFIX.get(suffix)
