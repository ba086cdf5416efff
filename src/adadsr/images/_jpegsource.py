"""A JPEG as a source for libvips that tells afterwards which bytes of the scan the decoder left over.

A damaged scan often decodes without a warning, to fewer bits than there are. libjpeg notices only when it goes on to
the end mark, which libvips does not ask for.
"""

from typing import BinaryIO

import pyvips

from adadsr.images._jpegsegments import SCAN, SEQUENTIAL, segments

_HEADER_BYTES = 1 << 25
_BLOCK = 1 << 20
_SLOW, _SLOWEST = 4096, 64  # bytes before the end mark from which on the decoder gets small pieces
_PADDING = b"\x00\xff"


class JpegSource:
    """The source of an open JPEG."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._given = file, 0
        self._end = _end_of_scan(file)
        self.source = pyvips.SourceCustom()
        self.source.on_read(self._read)
        file.seek(0)

    def _read(self, size: int) -> bytes:
        if self._end is not None:
            left = self._end - self._given
            if 0 < left <= _SLOW:
                size = 1 if left <= _SLOWEST else min(size, _SLOWEST, left - _SLOWEST)
            elif left > 0:
                size = min(size, left - _SLOW)
        self._file.seek(self._given)
        data = self._file.read(size)
        self._given += len(data)
        return data

    def left_over(self) -> str | None:
        """What is wrong if the decoder is done but did not use all of the scan; None if it did."""
        if self._end is None or self._given >= self._end:
            return None
        self._file.seek(self._given)
        left = self._file.read(self._end - self._given)
        if not left.strip(_PADDING):
            return None
        return f"{len(left)} bytes of the scan are left over"


def _end_of_scan(file: BinaryIO) -> int | None:
    """Offset of the end mark of a JPEG with one sequential Huffman-coded scan; None for any other."""
    file.seek(0)
    found = list(segments(file.read(_HEADER_BYTES)))
    frame = next((each for each in found if each.marker in SEQUENTIAL), None)
    scan = found[-1] if found else None
    if frame is None or scan is None or scan.marker != SCAN or scan.data[:1] != frame.data[5:6]:
        return None
    at, before = scan.start + 4 + len(scan.data), b""
    file.seek(at)
    while block := file.read(_BLOCK):
        if (index := (before + block).find(b"\xff\xd9")) >= 0:
            return at - len(before) + index
        at, before = at + len(block), block[-1:]
    return None
