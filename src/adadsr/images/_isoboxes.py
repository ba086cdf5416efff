"""What libvips does not tell of HEIF and AVIF files (ISO/IEC 23008-12): colour codes, premultiplied alpha, and what
they contain beside the picture.

Files are untrusted: boxes must lie inside each other, and their number is limited.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from adadsr.images import _av1
from adadsr.images._cicp import Cicp
from adadsr.images._xmp import GAIN_MAP_NOTE

_MAX_META_BYTES = 1 << 22
_MAX_ITEMS, _MAX_ASSOCIATIONS = 1 << 16, 4
_MAX_BOXES = 4096
_ALPHA_NAMES = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_AUXILIARY = re.compile(rb"auxC.{4}([!-~]+)", re.DOTALL)
_TONE_MAP = re.compile(rb"infe[\2\3].{7}(?:.{2})?tmap", re.DOTALL)  # item types behind version, flags and numbers
AUXILIARY_NOTE = "auxiliary pictures, such as a depth map, were left out"
FULL_BOX = 4  # version and flags
_HEADER = 8  # size and kind
_FULL_CHROMA = 3


class HeifFacts(NamedTuple):
    """cicp: of the primary image, if stated. nclx_at: offset of its codes in the file. premultiplied: its alpha.

    notes: what is left out. coded: codes in the stream of AV1, where the file states none. subsampled: whether the
    codec's configuration says that colour has less resolution, or that there is none.
    """

    cicp: Cicp | None = None
    nclx_at: int | None = None
    premultiplied: bool = False
    notes: tuple[str, ...] = ()
    coded: Cicp | None = None
    subsampled: bool = False

    @property
    def is_lossless(self) -> bool:
        """Whether RGB is stored rather than YCbCr (H.273, matrix 0): lossless files have to, and hardly others do."""
        codes = self.cicp or self.coded
        return codes is not None and (codes.matrix, codes.full_range) == (0, 1) and not self.subsampled


class Box(NamedTuple):
    """A box: its type, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


def read_heif_facts(file: BinaryIO) -> HeifFacts:
    """Facts of an open file; none of those that are damaged."""
    try:
        return _read(file)
    except (OSError, ValueError, IndexError, StopIteration):
        return HeifFacts()


def names_alpha(file: BinaryIO) -> bool:
    """Whether an open file says that it has an alpha image. libheif leaves out one whose entry is damaged."""
    try:
        _, meta = _meta(file)
    except (OSError, ValueError, IndexError):
        return False
    return any(name in meta for name in _ALPHA_NAMES)


def _read(file: BinaryIO) -> HeifFacts:
    offset, meta = _meta(file)
    top = {box.kind: box for box in boxes(meta, FULL_BOX, len(meta))}
    primary = primary_item(meta, top[b"pitm"]) if b"pitm" in top else None
    properties = _properties(meta, top[b"iprp"], primary) if b"iprp" in top and primary is not None else []
    cicp, at = None, None
    for box in properties:
        if box.kind == b"colr" and meta[box.start : box.start + 4] == b"nclx" and box.end - box.start >= 11:
            codes = [number(meta, box.start + 4 + 2 * index, 2) for index in range(3)]
            cicp, at = Cicp(codes[0], codes[1], codes[2], meta[box.start + 10] >> 7), offset + box.start + 4
            break
    is_av1 = any(box.kind == b"av1C" for box in properties)
    coded = _codes_of_stream(file, meta, top.get(b"iloc"), primary) if is_av1 and cicp is None else None
    subsampled = any(_is_subsampled(meta[box.start : box.end], box.kind) for box in properties)
    references = boxes(meta, top[b"iref"].start + FULL_BOX, top[b"iref"].end) if b"iref" in top else ()
    wide = 4 if b"iref" in top and meta[top[b"iref"].start] else 2
    premultiplied = any(box.kind == b"prem" and number(meta, box.start, wide) == primary for box in references)
    return HeifFacts(cicp, at, premultiplied, _notes(meta), coded, subsampled)


def _codes_of_stream(file: BinaryIO, meta: bytes, places: Box | None, item: int | None) -> Cicp | None:
    """Of the AV1 stream of an item; None if it is damaged."""
    with contextlib.suppress(OSError, OverflowError, ValueError, IndexError):
        for each in extents(meta, places) if places is not None else ():
            if each.item == item:
                file.seek(each.base.value + each.offset.value)
                return _av1.codes_of_stream(file.read(_av1.HEAD_BYTES))
    return None


def _is_subsampled(data: bytes, kind: bytes) -> bool:
    """Whether a codec's configuration says so: that of AV1, or of HEVC (ISO/IEC 14496-15, 8.3.2)."""
    if kind == b"av1C" and len(data) > 2:
        return bool(data[2] & 0b11100)  # monochrome, and each direction
    return kind == b"hvcC" and len(data) > 16 and data[16] & 3 != _FULL_CHROMA


def _notes(meta: bytes) -> tuple[str, ...]:
    """What a file contains beside the picture and its alpha: by the names of auxiliary images, and a tone map."""
    others = set(_AUXILIARY.findall(meta)) - set(_ALPHA_NAMES)
    maps = {name for name in others if b"gainmap" in name.lower()}
    notes = (GAIN_MAP_NOTE,) if maps or _TONE_MAP.search(meta) else ()
    return (*notes, AUXILIARY_NOTE) if others - maps else notes


def _meta(file: BinaryIO) -> tuple[int, bytes]:
    """Offset and content of the box `meta`."""
    for box in file_boxes(file):
        if box.kind == b"meta" and box.end - box.start <= _MAX_META_BYTES:
            file.seek(box.start)
            return box.start, file.read(box.end - box.start)
    raise ValueError("no metadata")


def file_boxes(file: BinaryIO) -> Iterator[Box]:
    """The outermost boxes of an open file. The last one may end beyond it. Raises OSError, ValueError."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    for _ in range(_MAX_BOXES):
        if at + _HEADER > end:  # readers ignore a few bytes behind the last box
            return
        file.seek(at)
        head = file.read(16)
        size, kind, skip = number(head, 0, 4), head[4:8], 8
        if size == 1:
            size, skip = number(head, 8, 8), 16
        if size == 0:
            size = end - at
        if size < skip:
            return
        yield Box(kind, at + skip, at + size)
        at += size


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Boxes side by side in a part of `data`."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size = number(data, start, 4) or end - start
        if size < 8 or start + size > end:
            return
        yield Box(data[start + 4 : start + 8], start + 8, start + size)
        start += size


def find(data: bytes, parent: Box, kind: bytes, skip: int) -> Box:
    """The first box of a kind inside another, after `skip` bytes of that. Raises ValueError."""
    for box in boxes(data, parent.start + skip, parent.end):
        if box.kind == kind:
            return box
    raise ValueError(f"no box {kind!r}")


def first_of(head: bytes, kinds: tuple[bytes, ...]) -> Box | None:
    """The first box of some kinds at the beginning of a file, of which `head` is a part; the box may be cut off."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 16 > len(head):
            return None
        size, kind, skip = number(head, at, 4), head[at + 4 : at + 8], 8
        if size == 1:
            size, skip = number(head, at + 8, 8), 16
        if kind in kinds:
            return Box(kind, at + skip, min(at + size, len(head)) if size else len(head))
        if size < skip:
            return None
        at += size
    return None


class Extent(NamedTuple):
    """A piece of an item: numbers of the box `iloc`, each with where it stands and its bytes."""

    item: int
    base: "Field"
    offset: "Field"
    length: "Field"


class Field(NamedTuple):
    """A number in a file."""

    value: int
    at: int
    size: int


def extents(data: bytes, box: Box) -> Iterator[Extent]:
    """The pieces of all items, by the box `iloc`."""
    version, sizes = data[box.start], number(data, box.start + FULL_BOX, 2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes, id_bytes = sizes & 15 if version else 0, 4 if version == 2 else 2
    at = box.start + FULL_BOX + 2
    count, at = number(data, at, id_bytes), at + id_bytes
    for _ in range(count):
        item, at = number(data, at, id_bytes), at + id_bytes + (2 if version else 0) + 2
        base, at = Field(number(data, at, base_bytes), at, base_bytes), at + base_bytes
        pieces, at = number(data, at, 2), at + 2
        for _ in range(pieces):
            at += index_bytes
            offset, at = Field(number(data, at, offset_bytes), at, offset_bytes), at + offset_bytes
            length, at = Field(number(data, at, length_bytes), at, length_bytes), at + length_bytes
            yield Extent(item, base, offset, length)


def primary_item(meta: bytes, box: Box) -> int:
    return number(meta, box.start + FULL_BOX, 4 if meta[box.start] else 2)


def _properties(meta: bytes, box: Box, item: int) -> list[Box]:
    """Properties of an item."""
    inside = list(boxes(meta, box.start, box.end))
    container = next(each for each in inside if each.kind == b"ipco")
    properties = list(boxes(meta, container.start, container.end))
    found = []
    for each in [each for each in inside if each.kind == b"ipma"][:_MAX_ASSOCIATIONS]:
        found += [properties[index - 1] for index in _associated(meta, each, item) if 0 < index <= len(properties)]
    return found


def _associated(meta: bytes, box: Box, item: int) -> list[int]:
    """Numbers of the properties of an item, from 1."""
    id_bytes, index_bytes = 4 if meta[box.start] else 2, 2 if meta[box.start + 3] & 1 else 1
    at = box.start + FULL_BOX + 4
    for _ in range(_MAX_ITEMS):
        if at + id_bytes >= box.end:
            break
        found, count = number(meta, at, id_bytes), meta[at + id_bytes]
        at += id_bytes + 1
        if found == item:
            mask = (1 << (8 * index_bytes - 1)) - 1
            return [number(meta, at + index_bytes * index, index_bytes) & mask for index in range(count)]
        at += count * index_bytes
    return []


def number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("beyond the end")
    return int.from_bytes(data[at : at + size], "big")
