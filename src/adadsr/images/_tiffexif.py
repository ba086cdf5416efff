"""EXIF in TIFF files, which neither libvips nor any other dependency reads or writes.

An EXIF block is itself a small TIFF: a header and directories (IFD) of tagged values (TIFF 6.0, section 2; EXIF 2.32,
section 4.6). The descriptive tags of the first directory and the EXIF and GPS directories are copied.
"""

import io
import os
import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

_PREFIX = b"Exif\0\0"
_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
_WIDTH, _HEIGHT = 0xA002, 0xA003
# ImageDescription, Make, Model, Software, DateTime, Artist, Copyright
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_LONG, _LONG8 = 4, 16
# Type of a value -> its bytes, and the bytes of the number inside it that byte order applies to.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = {**_SIZES, 5: 4, 10: 4}
# Many entries may declare the same bytes of a small file, so their sum is limited, too.
_MAX_ENTRIES = 512
_MAX_BYTES = 1 << 20
_DAMAGE = (OSError, OverflowError, ValueError, struct.error)  # OverflowError: an offset that no file can have


@dataclass(frozen=True)
class _Layout:
    """Layout of a TIFF's directories. order: "<" or ">". big: BigTIFF, with 64-bit offsets."""

    order: str
    big: bool

    def pack(self, codes: str, *values: int | bytes) -> bytes:
        """struct.pack with the codes N for an offset and D for the number of entries."""
        return struct.pack(self.order + self._codes(codes), *values)

    def unpack(self, codes: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + self._codes(codes), data)

    def size(self, codes: str) -> int:
        return struct.calcsize(self.order + self._codes(codes))

    def _codes(self, codes: str) -> str:
        return codes.replace("N", "Q" if self.big else "I").replace("D", "Q" if self.big else "H")


class _Value(NamedTuple):
    """A tagged value; data is little-endian."""

    kind: int
    length: int
    data: bytes


_EXIF_LAYOUT = _Layout("<", big=False)
_Directory = dict[int, _Value]


def read_tiff_exif(file: BinaryIO) -> bytes | None:
    """The EXIF of the TIFF `file` as a separate block; None if there is none or it is corrupt.

    Values beyond a total of 1 MiB are dropped.
    """
    try:
        parts = _read_parts(file)
    except _DAMAGE:
        return None
    if not any(parts):
        return None
    header = 8
    body, first = _laid_out(parts, header, _EXIF_LAYOUT, [])
    return _PREFIX + b"II*\0" + struct.pack("<I", first) + body


def append_tiff_exif(file: BinaryIO, exif: bytes, height: int, width: int) -> None:
    """Add the EXIF block `exif` to the finished one-page TIFF `file`, of height x width, open for reading and writing.

    The first directory is written again at the end, with the additional tags; pixel data does not move. A corrupt
    block is dropped.
    """
    try:
        main, detail, gps = _read_parts(io.BytesIO(exif.removeprefix(_PREFIX)))
    except _DAMAGE:
        return
    if detail:
        size = {_WIDTH: width, _HEIGHT: height}
        detail |= {tag: _Value(_LONG, 1, struct.pack("<I", side)) for tag, side in size.items()}
    layout, first = _read_header(file)
    present = _read_entries(file, first, layout)
    end = file.seek(0, os.SEEK_END)
    start = end + end % 2
    body, moved = _laid_out((main, detail, gps), start, layout, present)
    file.write(b"\0" * (start - end) + body)
    file.seek(8 if layout.big else 4)
    file.write(layout.pack("N", moved))


def _read_parts(file: BinaryIO) -> tuple[_Directory, _Directory, _Directory]:
    """Descriptive tags, EXIF directory and GPS directory of a TIFF."""
    layout, first = _read_header(file)
    main = _read_directory(file, first, layout, _MAX_BYTES, wanted=(*_DESCRIPTIVE, _EXIF_IFD, _GPS_IFD))
    below: list[_Directory] = []
    for pointer in (_EXIF_IFD, _GPS_IFD):
        left = _MAX_BYTES - sum(len(value.data) for part in (main, *below) for value in part.values())
        offset = int.from_bytes(main[pointer].data, "little") if pointer in main else None
        below.append({} if offset is None else _read_directory(file, offset, layout, left))
    below[0].pop(_INTEROPERABILITY_IFD, None)  # an offset into the old file
    return {tag: main[tag] for tag in _DESCRIPTIVE if tag in main}, below[0], below[1]


def _read_header(file: BinaryIO) -> tuple[_Layout, int]:
    """Layout and offset of the first directory."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise ValueError("not a TIFF")
    layout = _Layout(order, big=struct.unpack(order + "H", head[2:4])[0] == 43)
    start = 8 if layout.big else 4
    return layout, layout.unpack("N", head[start : start + layout.size("N")])[0]


def _read_entries(file: BinaryIO, offset: int, layout: _Layout) -> list[bytes]:
    """The entries of the directory at `offset`, as they stand there."""
    file.seek(offset)
    (count,) = layout.unpack("D", file.read(layout.size("D")))
    if count > _MAX_ENTRIES:
        raise ValueError("too many entries")
    size = layout.size("HHNN")
    data = file.read(count * size)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _read_directory(
    file: BinaryIO, offset: int, layout: _Layout, most_bytes: int, wanted: Container[int] | None = None
) -> _Directory:
    """The values of the directory at `offset`, except of unknown type, truncated, or beyond `most_bytes` in total.

    wanted: tags to read; None for all.
    """
    directory = {}
    for entry in _read_entries(file, offset, layout):
        tag, kind, count, where = layout.unpack("HHNN", entry)
        size = count * _SIZES.get(kind, 0)
        if not 0 < size <= most_bytes or (wanted is not None and tag not in wanted):
            continue
        if size <= layout.size("N"):
            data = entry[-layout.size("N") :][:size]
        else:
            file.seek(where)
            data = file.read(size)
        if len(data) == size:
            directory[tag] = _Value(kind, count, _ordered(data, kind, layout))
            most_bytes -= size
    return directory


def _ordered(data: bytes, kind: int, layout: _Layout) -> bytes:
    """Convert `data` from little-endian to the byte order of `layout`, or back."""
    word = _WORDS[kind]
    if layout.order == "<" or word == 1:
        return data
    swapped: bytes = np.frombuffer(data, f"u{word}").byteswap().tobytes()
    return swapped


def _laid_out(
    parts: tuple[_Directory, _Directory, _Directory], start: int, layout: _Layout, present: Iterable[bytes]
) -> tuple[bytes, int]:
    """Directories to write at offset `start`, and the offset of the main one, which comes last."""
    main, body = dict(parts[0]), b""
    pointer = (_LONG8, "<Q") if layout.big else (_LONG, "<I")
    for tag, directory in zip((_EXIF_IFD, _GPS_IFD), parts[1:], strict=True):
        if directory:
            main[tag] = _Value(pointer[0], 1, struct.pack(pointer[1], start + len(body)))
            body += _serialised(directory, start + len(body), layout, [])
    first = start + len(body)
    return body + _serialised(main, first, layout, present), first


def _serialised(directory: _Directory, start: int, layout: _Layout, present: Iterable[bytes]) -> bytes:
    """One directory at offset `start`, then its long values. present: entries to keep as they are."""
    rows = {layout.unpack("H", entry[:2])[0]: entry for entry in present}
    number = len(rows.keys() | directory.keys())
    after = start + layout.size("D") + number * layout.size("HHNN") + layout.size("N")
    long_values = b""
    for tag, value in directory.items():
        data = _ordered(value.data, value.kind, layout)
        if len(data) > layout.size("N"):
            where = layout.pack("N", after + len(long_values))
            long_values += data + b"\0" * (len(data) % 2)
        else:
            where = data.ljust(layout.size("N"), b"\0")
        rows[tag] = layout.pack("HHN", tag, value.kind, value.length) + where
    entries = b"".join(rows[tag] for tag in sorted(rows))
    return layout.pack("D", number) + entries + layout.pack("N", 0) + long_values
