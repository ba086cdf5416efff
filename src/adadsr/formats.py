"""Supported file formats, one complete row each. Imports no image library.

A new format is one row of FORMATS: suffixes, error messages, the command's choices and the tests follow from it.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from adadsr.errors import ImageFileError, InputError

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "SUPPORTED_SUFFIXES",
    "Encoding",
    "Format",
    "find_format",
    "format_for_writing",
    "is_image_file",
    "joined",
    "recognise",
    "suffix_of",
]

HEAD_BYTES = 4096
"""Number of leading bytes that suffice to recognise a format."""
_ANY_SIDE = 2**31 - 1
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # above it offsets need 64 bits; the margin is for metadata and overhead
_FULL_CHROMA = 90  # quality from which colour keeps its full resolution


class Encoding(NamedTuple):
    """What to encode. quality: 1..100. bits: per sample. nbytes: of all samples, uncompressed."""

    quality: int
    bits: int
    nbytes: int


Options = Mapping[str, bool | int | str]


@dataclass(frozen=True, eq=False)
class Format:
    """One file format.

    Attributes:
        name: as people write it.
        suffixes: lower case, with the dot; the first is the usual one.
        matches: whether the first HEAD_BYTES of a file are of this format.
        is_animated: whether an open file is an animation that libvips would read as a still picture.
        codec: libvips reads with `<codec>load_source` and writes with `<codec>save_target`.
        save_options: options of `<codec>save_target`, chosen to write a megapixel in less than about a second.
        bits: maximum bits per sample.
        max_side: longest side in pixels.
        has_gray, has_alpha: whether single-channel gray and alpha can be stored.
        default_quality: 1..100; None if files are lossless at any quality.
        is_lossless_at_100: whether quality 100 makes a file lossless.
        exif_in_directory: whether EXIF is a directory of the file, which libvips neither reads nor writes.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    codec: str
    save_options: Callable[[Encoding], Options]
    bits: int
    max_side: int
    has_gray: bool
    has_alpha: bool
    default_quality: int | None = None
    is_lossless_at_100: bool = False
    exif_in_directory: bool = False
    is_animated: Callable[[BinaryIO], bool] = lambda file: False

    @property
    def is_lossless(self) -> bool:
        """Whether every file of this format is lossless."""
        return self.default_quality is None


def _begins_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_webp(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def _is_avif(head: bytes) -> bool:
    return not {b"avif", b"avis"}.isdisjoint(_brands(head))


def _brands(head: bytes) -> list[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return []
    body = head[8 : int.from_bytes(head[:4], "big")]
    return [body[at : at + 4] for at in range(0, len(body), 4) if at != 4]  # at 4: the minor version


def _is_image_sequence(file: BinaryIO) -> bool:
    file.seek(0)
    return b"avis" in _brands(file.read(HEAD_BYTES))


def _has_animation_chunk(file: BinaryIO) -> bool:
    """Walk the chunks before the first image data; acTL among them makes an animated PNG."""
    file.seek(len(_PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        kind = header[4:]
        if kind in (b"acTL", b"IDAT", b"IEND"):
            return kind == b"acTL"
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # data and checksum
    return False


def _png_options(encoding: Encoding) -> Options:
    return {"compression": 6, "filter": "paeth"}


def _tiff_options(encoding: Encoding) -> Options:
    large = encoding.nbytes > _CLASSIC_TIFF_BYTES
    return {"compression": "deflate", "predictor": "horizontal", "bigtiff": large}


def _jpeg_options(encoding: Encoding) -> Options:
    return {"Q": encoding.quality, "optimize_coding": True, "subsample_mode": _subsampling(encoding.quality)}


def _webp_options(encoding: Encoding) -> Options:
    if encoding.quality == 100:
        return {"lossless": True, "exact": True, "effort": 1}
    return {"Q": encoding.quality, "smart_subsample": True, "effort": 4}


def _avif_options(encoding: Encoding) -> Options:
    common: Options = {"compression": "av1", "bitdepth": encoding.bits, "effort": 2}
    if encoding.quality == 100:
        return {**common, "lossless": True}
    return {**common, "Q": encoding.quality, "subsample_mode": _subsampling(encoding.quality)}


def _subsampling(quality: int) -> str:
    return "off" if quality >= _FULL_CHROMA else "on"


FORMATS = (
    Format(
        name="PNG",
        suffixes=(".png",),
        matches=_begins_with(_PNG_SIGNATURE),
        is_animated=_has_animation_chunk,
        codec="png",
        save_options=_png_options,
        bits=16,
        max_side=_ANY_SIDE,
        has_gray=True,
        has_alpha=True,
    ),
    Format(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        matches=_begins_with(b"\xff\xd8\xff"),
        codec="jpeg",
        save_options=_jpeg_options,
        bits=8,
        max_side=65500,
        has_gray=True,
        has_alpha=False,
        default_quality=95,
    ),
    Format(
        name="WebP",
        suffixes=(".webp",),
        matches=_is_webp,
        codec="webp",
        save_options=_webp_options,
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
        matches=_begins_with(*_TIFF_SIGNATURES),
        codec="tiff",
        save_options=_tiff_options,
        bits=16,
        max_side=_ANY_SIDE,
        has_gray=True,
        has_alpha=True,
        exif_in_directory=True,
    ),
    Format(
        name="AVIF",
        suffixes=(".avif",),
        matches=_is_avif,
        is_animated=_is_image_sequence,
        codec="heif",
        save_options=_avif_options,
        bits=12,
        max_side=16384,
        has_gray=False,
        has_alpha=True,
        default_quality=90,
        is_lossless_at_100=True,
    ),
)
"""All formats, in the order that messages and help texts list them."""

_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}
SUPPORTED_SUFFIXES: tuple[str, ...] = tuple(_BY_SUFFIX)
"""Lower-case suffixes, with the dot, of supported files."""


def joined(names: Iterable[str]) -> str:
    """Names joined for a sentence: `PNG, WebP or TIFF`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def suffix_of(name: str) -> str:
    """Suffix of a file name in lower case, with the dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an existing file with a supported suffix; its content is not read."""
    return suffix_of(os.fspath(path)) in _BY_SUFFIX and os.path.isfile(path)


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


def recognise(head: bytes) -> Format | None:
    """The format of a file that begins with `head`, its first HEAD_BYTES; None if it is not in FORMATS."""
    return next((each for each in FORMATS if each.matches(head)), None)
