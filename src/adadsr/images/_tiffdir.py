"""Directories (IFD) of tagged values in a TIFF file, or in an EXIF block, which is a small TIFF (TIFF 6.0, section 2).

Files are untrusted: the number of entries and the bytes of their values are limited.
"""

import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

# Type of a value -> its bytes, and the bytes of the number inside it that byte order applies to.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = {**SIZES, 5: 4, 10: 4}
# Many entries may declare the same bytes of a small file, so their sum is limited, too.
MAX_ENTRIES = 512
MAX_BYTES = 1 << 20
EXIF_PREFIX = b"Exif\0\0"
"""In front of the TIFF of an EXIF block, except in PNG."""
DAMAGE = (OSError, OverflowError, ValueError, struct.error)  # OverflowError: an offset that no file can have


@dataclass(frozen=True)
class Layout:
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


BLOCK_LAYOUT = Layout("<", big=False)
"""Of the directories that stand in blocks of their own."""


class Value(NamedTuple):
    """A tagged value; data is little-endian."""

    kind: int
    length: int
    data: bytes


Directory = dict[int, Value]


def read_header(file: BinaryIO) -> tuple[Layout, int]:
    """Layout and offset of the first directory."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise ValueError("not a TIFF")
    layout = Layout(order, big=struct.unpack(order + "H", head[2:4])[0] == 43)
    start = 8 if layout.big else 4
    return layout, layout.unpack("N", head[start : start + layout.size("N")])[0]


def read_entries(file: BinaryIO, offset: int, layout: Layout) -> list[bytes]:
    """The entries of the directory at `offset`, as they stand there."""
    file.seek(offset)
    (count,) = layout.unpack("D", file.read(layout.size("D")))
    if count > MAX_ENTRIES:
        raise ValueError("too many entries")
    size = layout.size("HHNN")
    data = file.read(count * size)
    return [data[at : at + size] for at in range(0, len(data), size)]


def read_directory(
    file: BinaryIO, offset: int, layout: Layout, most_bytes: int, wanted: Container[int] | None = None
) -> Directory:
    """The values of the directory at `offset`, except of unknown type, truncated, or beyond `most_bytes` in total.

    wanted: tags to read; None for all.
    """
    directory = {}
    for entry in read_entries(file, offset, layout):
        tag, kind, count, where = layout.unpack("HHNN", entry)
        size = count * SIZES.get(kind, 0)
        if not 0 < size <= most_bytes or (wanted is not None and tag not in wanted):
            continue
        if size <= layout.size("N"):
            data = entry[-layout.size("N") :][:size]
        else:
            file.seek(where)
            data = file.read(size)
        if len(data) == size:
            directory[tag] = Value(kind, count, ordered(data, kind, layout))
            most_bytes -= size
    return directory


def ordered(data: bytes, kind: int, layout: Layout) -> bytes:
    """Convert `data` from little-endian to the byte order of `layout`, or back."""
    word = _WORDS[kind]
    if layout.order == "<" or word == 1:
        return data
    swapped: bytes = np.frombuffer(data, f"u{word}").byteswap().tobytes()
    return swapped


def serialised(directory: Directory, start: int, layout: Layout, present: Iterable[bytes]) -> bytes:
    """One directory at offset `start`, then its long values. present: entries to keep as they are."""
    rows = {layout.unpack("H", entry[:2])[0]: entry for entry in present}
    number = len(rows.keys() | directory.keys())
    after = start + layout.size("D") + number * layout.size("HHNN") + layout.size("N")
    long_values = b""
    for tag, value in directory.items():
        data = ordered(value.data, value.kind, layout)
        if len(data) > layout.size("N"):
            where = layout.pack("N", after + len(long_values))
            long_values += data + b"\0" * (len(data) % 2)
        else:
            where = data.ljust(layout.size("N"), b"\0")
        rows[tag] = layout.pack("HHN", tag, value.kind, value.length) + where
    entries = b"".join(rows[tag] for tag in sorted(rows))
    return layout.pack("D", number) + entries + layout.pack("N", 0) + long_values


def numbers(value: Value | None) -> npt.NDArray[np.uint64]:
    """The unsigned integers of a value; none if it is missing or has another type."""
    code = None if value is None else {1: "u1", 3: "<u2", 4: "<u4", 13: "<u4", 16: "<u8", 18: "<u8"}.get(value.kind)
    if value is None or code is None:
        return np.zeros(0, np.uint64)
    return np.frombuffer(value.data, code).astype(np.uint64)
