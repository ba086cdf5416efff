"""Pages of a TIFF: its chain of directories, without thumbnails and masks (TIFF 6.0, NewSubfileType)."""

import contextlib
import io
from typing import BinaryIO

from adadsr.images._tiffdir import DAMAGE, numbers, read_directory, read_header

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 0xFE, 0xFF
_REDUCED, _MASK = 1, 4
_OLD_REDUCED = 2
_MAX_PAGES = 1 << 14
_MAX_BYTES = 1 << 16


def page_offsets(file: BinaryIO) -> list[int]:
    """Offset of the directory of each page, as far as the chain is sound."""
    try:
        layout, first = read_header(file)
    except DAMAGE:
        return []
    pages, seen, offset = list[int](), set[int](), first
    with contextlib.suppress(*DAMAGE):
        while offset and offset not in seen and len(seen) < _MAX_PAGES:
            seen.add(offset)
            found = read_directory(file, offset, layout, _MAX_BYTES, wanted=(_SUBFILE_TYPE, _OLD_SUBFILE_TYPE))
            kind, old = (sum(numbers(found.get(tag)).tolist()) for tag in (_SUBFILE_TYPE, _OLD_SUBFILE_TYPE))
            if not kind & (_REDUCED | _MASK) and old != _OLD_REDUCED:
                pages.append(offset)
            file.seek(offset)
            (count,) = layout.unpack("D", file.read(layout.size("D")))
            file.seek(offset + layout.size("D") + count * layout.size("HHNN"))
            (offset,) = layout.unpack("N", file.read(layout.size("N")))
    return pages or [first]


def with_first(file: BinaryIO, offset: int) -> BinaryIO:
    """A copy of the file whose first directory is the one at `offset`."""
    layout, _ = read_header(file)
    file.seek(0)
    content = bytearray(file.read())
    start = 8 if layout.big else 4
    content[start : start + layout.size("N")] = layout.pack("N", offset)
    return io.BytesIO(bytes(content))
