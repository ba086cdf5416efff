"""What the directory of a TIFF says, and whether its pixel data is all there, apart from any decoder.

libvips needs `fail_on="warning"` to notice a tile that it cannot decode, and tells a codec that it lacks from damage in
prose only. So the directory decides which library reads a file, and what a refusal says.
"""

import io
import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from adadsr.images._tiffdir import DAMAGE, Directory, numbers, read_directory, read_entries, read_header

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 0x100, 0x101, 0x102, 0x103, 0x106, 0x115
_FILL_ORDER, _ROWS_PER_STRIP, _PLANAR = 0x10A, 0x116, 0x11C
_TILE_WIDTH, _TILE_HEIGHT = 0x142, 0x143
_EXTRA_SAMPLES, _PREMULTIPLIED = 0x152, 1
_STRIPS, _TILES = (0x111, 0x117), (0x144, 0x145)  # tags of their offsets and of their sizes
_WANTED = (
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FILL_ORDER, _ROWS_PER_STRIP, _PLANAR),
    *(_TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, *_STRIPS, *_TILES),
)
_MAX_DIRECTORY_BYTES = 1 << 24  # a million strips
_DEFLATE = (8, 32946)
JPEGS, WEBP = (6, 7, 34892), 50001
"""Codes of their compression."""
_OF_LIBVIPS = (1, 2, 3, 4, 5, 7, 32773, WEBP, *_DEFLATE)
_NAMES = {6: "old-style JPEG", 34887: "LERC", 34892: "lossy DNG JPEG", 34925: "LZMA", 50000: "ZSTD"}
JPEG_2000, JPEG_XL = (33003, 33004, 33005, 34712), (50002, 52546)
"""Codes of their compression."""
_NAMES |= dict.fromkeys(JPEG_2000, "JPEG 2000") | dict.fromkeys(JPEG_XL, "JPEG XL")
_RGB, _YCBCR, _CIELAB, _ICCLAB = 2, 6, 8, 9
_LOG, _APERIO_YCBCR = (32844, 32845), 33003
_DEPTHS = (1, 2, 4, 8, 16, 32)
_SHORT = 3
_BLOCK = 1 << 20
_MOST_OVERLAP = 4


@dataclass(frozen=True, eq=False)
class TiffFacts:
    """The first directory. bits: of the first sample. photometric, compression: as in TIFF 6.0. segments: (N, 2)
    offset and bytes of each strip or tile. segment_count: how many there should be. segment_bytes: of a whole one,
    decoded. has_unnamed_channel: whether the channel after the colours is said not to be alpha (ExtraSamples 0).
    """

    width: int
    height: int
    bits: int
    samples: int
    compression: int
    photometric: int
    separate: bool
    tiled: bool
    reversed_bits: bool
    segments: npt.NDArray[np.uint64]
    segment_count: int
    segment_bytes: int
    premultiplied: bool
    has_unnamed_channel: bool

    @property
    def is_lab(self) -> bool:
        """Whether the samples are CIE L*a*b* of 8 or 16 bits."""
        return self.photometric in (_CIELAB, _ICCLAB) and self.bits in (8, 16) and self.samples >= 3

    @property
    def unreadable(self) -> str | None:
        """What no library turns into RGB of 8 or 16 bits, in words; None if there is nothing.

        JPEG is turned by its decoders. Samples of 32 bits are refused later, by their type.
        """
        if self.compression == _APERIO_YCBCR:
            return "YCbCr compressed with JPEG 2000"
        if self.photometric in _LOG:
            return "LogLuv colours"
        if self.bits not in _DEPTHS:
            return f"{self.bits}-bit samples"
        if self.photometric == _YCBCR and self.compression not in JPEGS:
            return "YCbCr that is not compressed with JPEG"
        return None

    @property
    def is_icc_lab(self) -> bool:
        """Whether a* and b* are offset by a half rather than signed."""
        return self.photometric == _ICCLAB

    @property
    def unknown_to_libvips(self) -> str | None:
        """What libvips cannot read, in words; None if it can."""
        if self.compression not in _OF_LIBVIPS:
            return f"compressed with {_NAMES.get(self.compression, f'scheme {self.compression}')}"
        return "tiled in separate planes" if self.tiled and self.separate else None


def read_facts(file: BinaryIO) -> TiffFacts | None:
    """The facts of the TIFF `file`; None if its directory is damaged."""
    try:
        layout, first = read_header(file)
        found = read_directory(file, first, layout, _MAX_DIRECTORY_BYTES, wanted=_WANTED)
        return _facts(found)
    except DAMAGE:
        return None


def first_segment(file: BinaryIO, directory: int) -> tuple[int, int]:
    """Compression of the page whose directory is at this offset, and the offset of its first strip or tile.

    Raises those of DAMAGE.
    """
    layout, _ = read_header(file)
    wanted = (_COMPRESSION, _STRIPS[0], _TILES[0])
    found = read_directory(file, directory, layout, _MAX_DIRECTORY_BYTES, wanted=wanted)
    compression, tiles, strips = (numbers(found.get(tag)) for tag in (_COMPRESSION, _TILES[0], _STRIPS[0]))
    offsets = tiles if len(tiles) else strips
    return int(compression[0]) if len(compression) else 1, int(offsets[0]) if len(offsets) else 0


def _facts(found: Directory) -> TiffFacts:
    def number(tag: int, default: int | None = None) -> int:
        values = numbers(found.get(tag))
        if not len(values) and default is None:
            raise ValueError(f"tag {tag} is missing")
        return int(values[0]) if len(values) else default or 0

    tiled = _TILES[0] in found
    offsets, sizes = (numbers(found.get(tag)) for tag in (_TILES if tiled else _STRIPS))
    width, height, bits, samples = number(_WIDTH), number(_HEIGHT), number(_BITS, 1), number(_SAMPLES, 1)
    separate = number(_PLANAR, 1) == 2
    across = number(_TILE_WIDTH) if tiled else width
    down = number(_TILE_HEIGHT) if tiled else min(height, number(_ROWS_PER_STRIP, height))
    if not (across and down and width and height):
        raise ValueError("no pixels")
    expected = -(-width // across) * -(-height // down) * (samples if separate else 1)
    count = min(len(offsets), len(sizes))
    return TiffFacts(
        width,
        height,
        bits,
        samples,
        number(_COMPRESSION, 1),
        number(_PHOTOMETRIC, 1),
        separate,
        tiled,
        number(_FILL_ORDER, 1) == 2,
        np.stack([offsets[:count], sizes[:count]], 1),
        expected,
        down * ((across * bits * (1 if separate else samples) + 7) // 8),
        number(_EXTRA_SAMPLES, 0) == _PREMULTIPLIED,
        _EXTRA_SAMPLES in found and number(_EXTRA_SAMPLES, 0) == 0,
    )


def as_rgb(content: bytes) -> bytes:
    """The TIFF `content`, declared to be RGB. Raises as `read_entries`."""
    layout, first = read_header(file := io.BytesIO(content))
    changed, at = bytearray(content), first + layout.size("D")
    for entry in read_entries(file, first, layout):
        if layout.unpack("H", entry[:2])[0] == _PHOTOMETRIC:
            changed[at : at + len(entry)] = layout.pack("HHN", _PHOTOMETRIC, _SHORT, 1) + layout.pack("H", _RGB).ljust(
                layout.size("N"), b"\0"
            )
        at += len(entry)
    return bytes(changed)


def is_cut_off(file: BinaryIO, facts: TiffFacts) -> bool:
    """Whether a strip or tile is missing or does not lie inside the file."""
    size = np.uint64(file.seek(0, os.SEEK_END))
    starts, lengths = facts.segments.T
    outside = (starts > size) | (lengths == 0) | (lengths > size - np.minimum(starts, size))
    return len(starts) < facts.segment_count or bool(outside.any())


def wrong_checksum(file: BinaryIO, facts: TiffFacts) -> str | None:
    """The first strip or tile with a wrong checksum, in words; None if all are right or there are none.

    libtiff stops when it has all pixels of a strip, before its checksum.
    """
    if facts.compression not in _DEFLATE or facts.reversed_bits:
        return None
    left = _MOST_OVERLAP * file.seek(0, os.SEEK_END)  # hostile files have many strips at one place
    for number, (start, length) in enumerate(facts.segments.tolist()):
        left -= length
        if left < 0:
            return None
        if not _inflates(file, start, length, facts.segment_bytes):
            return f"{'tile' if facts.tiled else 'strip'} {number} has a wrong checksum"
    return None


def _inflates(file: BinaryIO, start: int, length: int, most: int) -> bool:
    """Whether zlib data ends with the right checksum, or goes on beyond `most` decoded bytes."""
    file.seek(start)
    inflater, left, done = zlib.decompressobj(), length, 0
    while not inflater.eof and done <= most:
        data = inflater.unconsumed_tail
        if not data:
            data = file.read(min(left, _BLOCK))
            left -= len(data)
        if not data:
            return False
        try:
            done += len(inflater.decompress(data, _BLOCK))
        except zlib.error:
            return False
    return True
