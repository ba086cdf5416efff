"""Metadata in the directory of a TIFF that libvips neither reads nor writes: EXIF, IPTC, GeoTIFF, resolution.

An EXIF block is itself a small TIFF (TIFF 6.0, section 2; EXIF 2.32, section 4.6). The descriptive tags of the first
directory and the EXIF and GPS directories are copied.
"""

import io
import os
import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import BinaryIO, NamedTuple

from adadsr.images import _geotiff, _photoshop
from adadsr.images._resolution import Resolution
from adadsr.images._tiffdir import (
    BLOCK_LAYOUT,
    DAMAGE,
    EXIF_PREFIX,
    MAX_BYTES,
    Directory,
    Layout,
    Value,
    ordered,
    read_directory,
    read_entries,
    read_header,
    serialised,
)

_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
# DocumentName, ImageDescription, Make, Model, PageName, Software, DateTime, Artist, HostComputer, Rating and its
# percentage, Copyright, and Windows' title, comment, author, keywords and subject
_DESCRIPTIVE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298),
    *range(0x9C9B, 0x9CA0),
)
_RESOLUTION = (0x011A, 0x011B, 0x0128)
_IPTC, _PHOTOSHOP, _COMMENT = 0x83BB, 0x8649, 0x9C9C
_USER_COMMENT, _UNICODE = 0x9286, b"UNICODE\0"
_BYTE, _SHORT, _LONG, _RATIONAL, _LONG8 = 1, 3, 4, 5, 16
_MAX_DENOMINATOR = 10000


class TiffMetadata(NamedTuple):
    """exif: as a block of its own. photoshop: image resources, with the IPTC. geotiff: see `_geotiff.packed`."""

    exif: bytes | None = None
    photoshop: bytes | None = None
    geotiff: bytes | None = None
    resolution: Resolution | None = None


class _Parts(NamedTuple):
    """Descriptive tags, EXIF directory and GPS directory."""

    main: Directory
    detail: Directory
    gps: Directory


def read_tiff_metadata(file: BinaryIO) -> TiffMetadata:
    """The metadata of an open TIFF; none of a damaged directory, and no values beyond a total of 1 MiB."""
    exif, found = read_tiff_exif(file), Directory()
    try:
        layout, first = read_header(file)
        wanted = (*_geotiff.TAGS, *_RESOLUTION, _IPTC, _PHOTOSHOP)
        found = read_directory(file, first, layout, MAX_BYTES, wanted=wanted)
    except DAMAGE:
        return TiffMetadata(exif)
    photoshop = found[_PHOTOSHOP].data if _PHOTOSHOP in found else None
    # Whatever the type says, these are bytes, which are never swapped.
    iptc = ordered(found[_IPTC].data, found[_IPTC].kind, layout) if _IPTC in found else None
    return TiffMetadata(exif, _photoshop.with_iptc(photoshop, iptc), _geotiff.packed(found), _resolution(found))


def read_tiff_exif(file: BinaryIO) -> bytes | None:
    """The EXIF of the TIFF `file` as a separate block; None if there is none or it is corrupt.

    Values beyond a total of 1 MiB are dropped.
    """
    try:
        parts = _read_parts(file)
    except DAMAGE:
        return None
    if not any(parts):
        return None
    header = 8
    body, first = _laid_out(parts, header, BLOCK_LAYOUT, [])
    return EXIF_PREFIX + b"II*\0" + struct.pack("<I", first) + body


def append_tiff_metadata(file: BinaryIO, metadata: TiffMetadata, geotiff: Directory, comment: str | None) -> None:
    """Add metadata to the finished one-page TIFF `file`, open for reading and writing; a corrupt EXIF is dropped.

    The first directory is written again at the end, with the additional tags; pixel data does not move.

    geotiff: instead of that of the metadata, for the size of the picture.
    comment: for the tag of Windows, unless the EXIF has it.
    """
    try:
        parts = _read_parts(io.BytesIO((metadata.exif or b"").removeprefix(EXIF_PREFIX)))
    except DAMAGE:
        parts = _Parts({}, {}, {})
    if comment is not None and _COMMENT not in parts.main:
        data = comment.encode("utf-16-le", "replace") + bytes(2)
        parts.main[_COMMENT] = Value(_BYTE, len(data), data)
    more = {**geotiff, **_resolution_tags(metadata.resolution)}
    if metadata.photoshop is not None:
        if (rest := _photoshop.without_iptc(metadata.photoshop)) is not None:
            more[_PHOTOSHOP] = Value(_BYTE, len(rest), rest)
        if (iptc := _photoshop.iptc_of(metadata.photoshop)) is not None:
            iptc += bytes(-len(iptc) % 4)
            more[_IPTC] = Value(_LONG, len(iptc) // 4, iptc)
    layout, first = read_header(file)
    present = read_entries(file, first, layout)
    end = file.seek(0, os.SEEK_END)
    start = end + end % 2
    body, moved = _laid_out(parts._replace(main={**parts.main, **more}), start, layout, present)
    file.write(b"\0" * (start - end) + body)
    file.seek(8 if layout.big else 4)
    file.write(layout.pack("N", moved))


def has_comment(exif: bytes | None) -> bool:
    """Whether an EXIF block has Windows' tag for a comment."""
    try:
        return exif is not None and _COMMENT in _read_parts(io.BytesIO(exif.removeprefix(EXIF_PREFIX))).main
    except DAMAGE:
        return False


def _resolution(found: Directory) -> Resolution | None:
    if not all(tag in found and len(found[tag].data) >= 2 for tag in _RESOLUTION):
        return None
    sides = []
    for tag in _RESOLUTION[:2]:
        if found[tag].kind != _RATIONAL or found[tag].length != 1:
            return None
        above, below = struct.unpack("<II", found[tag].data)
        sides.append(above / below if below else 0.0)
    return Resolution.of(sides[0], sides[1], int.from_bytes(found[_RESOLUTION[2]].data[:2], "little"))


def _resolution_tags(resolution: Resolution | None) -> Directory:
    resolution = resolution or Resolution(1, 1, 1)
    tags = {_RESOLUTION[2]: Value(_SHORT, 1, struct.pack("<H", resolution.unit))}
    for tag, side in zip(_RESOLUTION[:2], resolution[:2], strict=True):
        fraction = Fraction(side).limit_denominator(_MAX_DENOMINATOR)
        top = min(max(fraction.numerator, 1), 2**32 - 1)
        tags[tag] = Value(_RATIONAL, 1, struct.pack("<II", top, fraction.denominator))
    return tags


def _read_parts(file: BinaryIO) -> _Parts:
    layout, first = read_header(file)
    main = read_directory(file, first, layout, MAX_BYTES, wanted=(*_DESCRIPTIVE, _EXIF_IFD, _GPS_IFD))
    below: list[Directory] = []
    for pointer in (_EXIF_IFD, _GPS_IFD):
        left = MAX_BYTES - sum(len(value.data) for part in (main, *below) for value in part.values())
        offset = int.from_bytes(main[pointer].data, "little") if pointer in main else None
        below.append({} if offset is None else read_directory(file, offset, layout, left))
    comment = below[0].get(_USER_COMMENT)
    if layout.order == ">" and comment is not None and comment.data.startswith(_UNICODE):
        words = comment.data[len(_UNICODE) :]
        swapped = ordered(words[: len(words) // 2 * 2], _SHORT, layout)
        below[0][_USER_COMMENT] = comment._replace(data=_UNICODE + swapped + words[len(swapped) :])
    below[0].pop(_INTEROPERABILITY_IFD, None)  # an offset into the old file
    return _Parts({tag: main[tag] for tag in _DESCRIPTIVE if tag in main}, below[0], below[1])


def _laid_out(parts: _Parts, start: int, layout: Layout, present: Iterable[bytes]) -> tuple[bytes, int]:
    """Directories to write at offset `start`, and the offset of the main one, which comes last."""
    main, body = dict(parts.main), b""
    pointer = (_LONG8, "<Q") if layout.big else (_LONG, "<I")
    for tag, directory in zip((_EXIF_IFD, _GPS_IFD), parts[1:], strict=True):
        if directory:
            main[tag] = Value(pointer[0], 1, struct.pack(pointer[1], start + len(body)))
            body += serialised(directory, start + len(body), layout, [])
    first = start + len(body)
    return body + serialised(main, first, layout, present), first
