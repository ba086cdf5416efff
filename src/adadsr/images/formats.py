"""The file formats that are read and written: one row each."""

import os
from dataclasses import dataclass
from typing import BinaryIO

from adadsr.errors import ImageFileError

HEAD_BYTES = 4096  # enough of a file to recognise its format
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF


@dataclass(frozen=True)
class Format:
    """One file format.

    suffixes: lower case, the usual one first. loader, saver: libvips operations. bits: most bits of a sample
    that a file holds. max_side: longest side in pixels that the encoder takes. has_gray, has_alpha: whether
    a file can hold gray pixels as such, and alpha.
    """

    name: str
    suffixes: tuple[str, ...]
    loader: str
    saver: str
    bits: int
    max_side: int
    has_gray: bool
    has_alpha: bool


PNG = Format("PNG", (".png",), "pngload_source", "pngsave_target", 16, 2**31 - 1, True, True)
JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "jpegload_source", "jpegsave_target", 8, 65500, True, False)
WEBP = Format("WebP", (".webp",), "webpload_source", "webpsave_target", 8, 16383, False, True)
TIFF = Format("TIFF", (".tif", ".tiff"), "tiffload_source", "tiffsave_target", 16, 2**31 - 1, True, True)
AVIF = Format("AVIF", (".avif",), "heifload_source", "heifsave_target", 12, 16384, False, True)

FORMATS = (PNG, JPEG, WEBP, TIFF, AVIF)
FORMAT_NAMES = ", ".join(each.name for each in FORMATS[:-1]) + f" or {FORMATS[-1].name}"
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}

SUPPORTED_SUFFIXES: tuple[str, ...] = tuple(_BY_SUFFIX)
"""Lower-case suffixes, with the dot, of the files that are read and written."""


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """True where `path` is an existing file whose suffix is supported; the content is not looked at."""
    return _suffix(os.fspath(path)) in _BY_SUFFIX and os.path.isfile(path)


def format_for_writing(name: str) -> Format:
    """The format that the suffix of `name` asks for. Raises ImageFileError where there is none."""
    suffix = _suffix(name)
    if suffix not in _BY_SUFFIX:
        given = f"the suffix {suffix}" if suffix else "a name without a suffix"
        raise ImageFileError(
            f"{name}: {given} does not say which format to write; use one of {', '.join(SUPPORTED_SUFFIXES)}"
        )
    return _BY_SUFFIX[suffix]


def format_of_content(name: str, head: bytes) -> Format:
    """The format of a file that begins with `head` and has a suffix of that format, or no suffix at all.

    Raises ImageFileError for an unknown content or suffix, and where the two differ.
    """
    content, suffix = _recognise(head), _suffix(name)
    if content is None:
        raise ImageFileError(f"{name}: the content is not {FORMAT_NAMES}; convert it to one of these")
    if suffix and suffix not in _BY_SUFFIX:
        raise ImageFileError(f"{name}: files ending in {suffix} are not read; convert it to {FORMAT_NAMES}")
    if suffix and _BY_SUFFIX[suffix] is not content:
        right = os.path.splitext(os.path.basename(name))[0] + content.suffixes[0]
        raise ImageFileError(
            f"{name}: the content is {content.name}, not {_BY_SUFFIX[suffix].name}; rename it to {right}"
        )
    return content


def is_animated(file: BinaryIO, content: Format, head: bytes) -> bool:
    """True for an animated PNG and an AVIF sequence, which libvips reads as a still picture."""
    if content is AVIF:
        return b"avis" in _brands(head)
    return content is PNG and _has_animation_chunk(file)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _recognise(head: bytes) -> Format | None:
    if head.startswith(_PNG_SIGNATURE):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(_TIFF_SIGNATURES):
        return TIFF
    return AVIF if {b"avif", b"avis"} & set(_brands(head)) else None


def _brands(head: bytes) -> list[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return []
    body = head[8 : int.from_bytes(head[:4], "big")]
    return [body[at : at + 4] for at in range(0, len(body), 4) if at != 4]  # at 4: the minor version


def _has_animation_chunk(file: BinaryIO) -> bool:
    """Walk the chunks before the first image data; acTL among them makes an animated PNG."""
    file.seek(len(_PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        kind = header[4:]
        if kind in (b"acTL", b"IDAT", b"IEND"):
            return kind == b"acTL"
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # data and checksum
    return False
