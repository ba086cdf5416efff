"""EXIF blocks (EXIF 2.32) brought up to date in place, so that everything else keeps its bytes and offsets.

A block is a small TIFF behind `Exif\\0\\0`. Nothing is added: a tag that is not there stays away.
"""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

from adadsr.images._tiffdir import DAMAGE, EXIF_PREFIX, SIZES, read_entries, read_header
from adadsr.images._turning import Size, turned_point

_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
_WIDTHS, _HEIGHTS = (0x0100, 0xA002, 0x1001), (0x0101, 0xA003, 0x1002)
_AREA, _LOCATION, _ORIENTATION = 0x9214, 0xA214, 0x0112
_RESOLUTIONS, _UNIT = (0x011A, 0x011B), 0x0128
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_CODES = {1: "B", _SHORT: "H", _LONG: "I"}


class ExifFacts(NamedTuple):
    """orientation: if stated. resolution: horizontal, vertical and unit (1 none, 2 inch, 3 cm), if stated."""

    orientation: int | None = None
    resolution: tuple[float, float, int] | None = None


class _Entry(NamedTuple):
    """number: of values. at, data_at: where its entry and its data stand in the block."""

    kind: int
    number: int
    at: int
    data_at: int


class _Block:
    """The TIFF in an EXIF block, open for changes. Raises one of DAMAGE for a damaged one."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif.removeprefix(EXIF_PREFIX))
        self.file = io.BytesIO(self.data)
        # tags: those of whole numbers
        self.layout, first = read_header(self.file)
        if self.layout.big:
            raise ValueError("EXIF is no BigTIFF")
        self.main = self._entries(first)
        self.link_at = first + self.layout.size("D") + self._count * self.layout.size("HHNN")
        self.below = self._directory(self.main, _EXIF_IFD)
        tags = {**self._directory(self.below, _INTEROPERABILITY_IFD), **self.below, **self.main}
        self.tags = {tag: entry for tag, entry in tags.items() if entry.kind in _CODES}

    def _directory(self, parent: dict[int, _Entry], pointer: int) -> dict[int, _Entry]:
        if pointer not in parent:
            return {}
        try:
            return self._entries(self.numbers(parent[pointer])[0])
        except DAMAGE:
            return {}

    def _entries(self, offset: int) -> dict[int, _Entry]:
        found: dict[int, _Entry] = {}
        entries = read_entries(self.file, offset, self.layout)
        self._count = len(entries)
        at = offset + self.layout.size("D")
        for entry in entries:
            tag, kind, count, where = self.layout.unpack("HHNN", entry)
            size = count * SIZES.get(kind, 0)
            data_at = at + 8 if size <= 4 else where
            if 0 < size <= len(self.data) - data_at:
                found[tag] = _Entry(kind, count, at, data_at)
            at += len(entry)
        return found

    def numbers(self, entry: _Entry) -> tuple[int, ...]:
        """Unsigned integers; numerators and denominators of fractions."""
        code, count = ("I", 2 * entry.number) if entry.kind == _RATIONAL else (_CODES.get(entry.kind), entry.number)
        if code is None:
            raise ValueError("no numbers")
        return struct.unpack_from(f"{self.layout.order}{count}{code}", self.data, entry.data_at)

    def write(self, entry: _Entry, numbers: tuple[int, ...]) -> None:
        """Replace as many numbers; those that do not fit become the largest that does."""
        kind = entry.kind
        if kind == _SHORT and entry.number == 1 and numbers[0] > 65535:
            kind = _LONG
            struct.pack_into(self.layout.order + "H", self.data, entry.at + 2, kind)
        top = (1 << 8 * SIZES[kind]) - 1
        values = [min(max(number, 0), top) for number in numbers]
        struct.pack_into(f"{self.layout.order}{len(values)}{_CODES[kind]}", self.data, entry.data_at, *values)

    def without_thumbnail(self) -> None:
        """Cut off the second directory, and its bytes where they end the block."""
        (second,) = struct.unpack_from(self.layout.order + "I", self.data, self.link_at)
        if not second:
            return
        struct.pack_into(self.layout.order + "I", self.data, self.link_at, 0)
        end = max(entry.data_at + entry.number * SIZES[entry.kind] for entry in self._all())
        end = max(end, self.link_at + 4, *(entry.at + 16 for entry in self._all()))
        if second >= end:
            del self.data[second:]

    def _all(self) -> Iterator[_Entry]:
        yield from self.main.values()
        yield from self.below.values()
        for parent, pointer in ((self.main, _GPS_IFD), (self.below, _INTEROPERABILITY_IFD)):
            yield from self._directory(parent, pointer).values()

    def packed(self) -> bytes:
        return EXIF_PREFIX + bytes(self.data)


def read_exif_facts(exif: bytes | None) -> ExifFacts:
    """Facts of a block; none of a damaged one."""
    try:
        block = _Block(exif or b"")
        orientation = block.numbers(block.tags[_ORIENTATION])[0] if _ORIENTATION in block.tags else None
        if not all(tag in block.main for tag in (*_RESOLUTIONS, _UNIT)):
            return ExifFacts(orientation)
        pairs = [block.numbers(block.main[tag]) for tag in _RESOLUTIONS]
        unit = block.numbers(block.main[_UNIT])[0]
        horizontal, vertical = (pair[0] / pair[1] if pair[1] else 0.0 for pair in pairs)
        return ExifFacts(orientation, (horizontal, vertical, unit) if horizontal and vertical else None)
    except (*DAMAGE, IndexError):
        return ExifFacts()


def cleaned(exif: bytes | None, stored: Size, applied: int = 1) -> bytes | None:
    """The block of the upright picture whose stored size was `stored`, without thumbnail; None for a damaged block.

    applied: the orientation that was applied, if it stands outside the block, as in a TIFF.
    """
    if exif is None:
        return None
    try:
        block = _Block(exif)
        orientation = block.numbers(block.tags[_ORIENTATION])[0] if _ORIENTATION in block.tags else applied
        if _ORIENTATION in block.tags:
            block.write(block.tags[_ORIENTATION], (1,))
        if orientation >= 5:
            _swap_sizes(block)
        _move(block, orientation, stored)
        block.without_thumbnail()
    except (*DAMAGE, IndexError):
        return None
    return block.packed()


def sized(exif: bytes | None, before: Size, after: Size) -> bytes | None:
    """The block of a picture that had the size `before` and now has the size `after`; None for a damaged block."""
    if exif is None:
        return None
    try:
        block = _Block(exif)
        for tags, side in ((_WIDTHS, after[0]), (_HEIGHTS, after[1])):
            for tag in tags:
                if tag in block.tags and block.tags[tag].number == 1:
                    block.write(block.tags[tag], (side,))
        for tag in (_AREA, _LOCATION):
            if tag in block.tags:
                entry = block.tags[tag]
                factors = [after[index % 2] / before[index % 2] for index in range(entry.number)]
                if entry.number == 3:  # a circle: its diameter follows the width
                    factors[2] = after[0] / before[0]
                numbers = block.numbers(entry)
                block.write(entry, tuple(round(n * f) for n, f in zip(numbers, factors, strict=True)))
    except (*DAMAGE, IndexError):
        return None
    return block.packed()


def _swap_sizes(block: _Block) -> None:
    for wide, high in zip(_WIDTHS, _HEIGHTS, strict=True):
        if wide in block.tags and high in block.tags:
            sides = block.numbers(block.tags[wide]), block.numbers(block.tags[high])
            block.write(block.tags[wide], sides[1][:1])
            block.write(block.tags[high], sides[0][:1])


def _move(block: _Block, orientation: int, stored: Size) -> None:
    """Rotate the subject's position."""
    for tag in (_AREA, _LOCATION):
        if tag not in block.tags or not 2 <= orientation <= 8:
            continue
        numbers = block.numbers(block.tags[tag])
        x, y = turned_point(orientation, numbers[0] / stored[0], numbers[1] / stored[1])
        size, rest = (stored[::-1], numbers[:1:-1]) if orientation >= 5 else (stored, numbers[2:])
        block.write(block.tags[tag], (round(x * size[0]), round(y * size[1]), *rest))
