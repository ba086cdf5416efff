"""The segments of a JPEG before its first scan (ITU-T T.81, B.1)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_END = 0xD9
SCAN = 0xDA
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # with a length
_MAX_SEGMENTS = 4096
_JFIF = b"JFIF\0"
_FIRST_SCAN_OF_SEQUENTIAL = b"\x00\x3f\x00"  # first and last coefficient, bit positions
SEQUENTIAL = (0xC0, 0xC1)  # frames of one scan, Huffman-coded
APP0, APP1, APP2, APP13, COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xFE


class Segment(NamedTuple):
    """marker: its second byte. data: without marker and length. start: offset of the marker in the file."""

    marker: int
    data: bytes
    start: int

    def packed(self) -> bytes:
        """As in a file."""
        return packed(self.marker, self.data)


def packed(marker: int, data: bytes) -> bytes:
    """One segment as in a file; data: at most 65533 bytes."""
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def segments(content: bytes) -> Iterator[Segment]:
    """Segments up to and including the header of the first scan. Bytes between them are skipped, as libjpeg does."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(content, at)
        if found is None:
            return
        start, marker = found.end() - 2, content[found.end() - 1]
        size = int.from_bytes(content[start + 2 : start + 4], "big")
        at = start + 2 + size
        if marker == _END or size < 2 or at > len(content):
            return
        yield Segment(marker, content[start + 4 : at], start)
        if marker == SCAN:
            return


def without_harmless_faults(content: bytes) -> bytes | None:
    """A JPEG without the faults in its header that libjpeg warns of although they change no pixel; None without them.

    These are bytes between segments, an unknown revision of JFIF, and spectral limits of a sequential scan.
    """
    found = list(segments(content))
    if not found or found[-1].marker != SCAN:
        return None
    sequential = any(each.marker in SEQUENTIAL for each in found)
    tidied = b"\xff\xd8"
    for each in found:
        data = each.data
        if each.marker == APP0 and data.startswith(_JFIF):
            data = _JFIF + b"\x01\x02" + data[7:]
        elif each.marker == SCAN and sequential:
            data = data[:-3] + _FIRST_SCAN_OF_SEQUENTIAL
        tidied += packed(each.marker, data)
    last = found[-1]
    tidied += content[last.start + 4 + len(last.data) :]
    return None if tidied == content else tidied
