"""JPEG XL: pixels by imagecodecs, at up to 16 bits; the profile by pillow-jxl-plugin, whose pixels have 8."""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, Unsupported, content_of, decoded, load
from adadsr.images._deep import full_range
from adadsr.images._isoboxes import boxes, first_of
from adadsr.images._tiffdir import EXIF_PREFIX

_HEAD_BYTES = 1 << 22  # boxes before the code stream
_STREAM_BYTES = 64  # of its headers that are read
_MAX_METADATA = 1 << 20
_CODE_STREAM = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height


class _Bits:
    """Bits of a code stream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def read(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """A number in one of four ways: a base, and the count of bits to add."""
        base, count = choices[self.read(2)]
        return base + self.read(count)


class _Facts(NamedTuple):
    """Of the code stream. bits: of a colour sample."""

    width: int
    height: int
    orientation: int
    bits: int


def _header(file: BinaryIO, what: str) -> Header:
    """Of the upright picture."""
    file.seek(0)
    facts = _facts(file.read(_HEAD_BYTES))
    return Header(*((facts.height, facts.width) if facts.orientation >= 5 else (facts.width, facts.height)))


def depth_of(head: bytes) -> int:
    """Bits of a colour sample of the file that begins so. Raises Undecodable."""
    return _facts(head).bits


def _facts(head: bytes) -> _Facts:
    """Of the size header and the image metadata (ISO/IEC 18181-1, annex D). Raises Undecodable."""
    stream = _stream(head)
    if len(stream) < 16:
        raise Undecodable("no code stream")
    bits = _Bits(stream[2:])
    width, height = _size(bits)
    if bits.read(1):  # everything by default
        return _Facts(width, height, 1, 8)
    orientation = 1
    if bits.read(1):
        orientation = bits.read(3) + 1
        if bits.read(1):  # the size to show it at
            _size(bits)
        if bits.read(1):
            _skip_preview(bits)
        if bits.read(1):
            _skip_animation(bits)
    if bits.read(1):  # floating point
        depth = bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
    else:
        depth = bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    return _Facts(width, height, orientation, depth)


def _size(bits: _Bits) -> tuple[int, int]:
    """Width and height of a size header."""
    small = bits.read(1)

    def side() -> int:
        return 8 * (bits.read(5) + 1) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    return _sides(bits, side)


def _sides(bits: _Bits, side: Callable[[], int]) -> tuple[int, int]:
    height = side()
    ratio = bits.read(3)
    return height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else side(), height


def _skip_preview(bits: _Bits) -> None:
    in_eights = bits.read(1)

    def side() -> int:
        return bits.choose(
            *(((16, 0), (32, 0), (1, 5), (33, 9)) if in_eights else ((1, 6), (65, 8), (321, 10), (1345, 12)))
        )

    _sides(bits, side)


def _skip_animation(bits: _Bits) -> None:
    bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))  # ticks in a second
    bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choose((0, 0), (0, 3), (0, 16), (0, 32))  # loops
    bits.read(1)  # time codes


def _stream(head: bytes) -> bytes:
    """The beginning of the code stream."""
    if head.startswith(_CODE_STREAM):
        return head[:_STREAM_BYTES]
    box = first_of(head, (b"jxlc", b"jxlp"))
    if box is None:
        return b""
    start = box.start + (4 if box.kind == b"jxlp" else 0)  # the number of the part
    return head[start : start + _STREAM_BYTES]


def _decode(file: BinaryIO, what: str) -> Decoded:
    content = content_of(file)
    library = load("imagecodecs", what)
    pixels = decoded(library.jpegxl_decode, content)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise Unsupported(f"{pixels.dtype} samples")
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise Unsupported("several frames or other channels than gray, RGB and alpha")
    top = 2 ** _facts(content[:_HEAD_BYTES]).bits - 1
    if top > np.iinfo(pixels.dtype).max or pixels.max(initial=0) > top:
        raise Unsupported("samples of different depths")
    pixels = full_range(pixels, top)
    profile = decoded(load("pillow_jxl", what).Decoder(num_threads=1), content)[3] or None
    exif, xmp = None, None
    notes: tuple[str, ...] = ()
    if not content.startswith(_CODE_STREAM):
        for box in boxes(content, 0, len(content)):
            kind, data = box.kind, content[box.start : box.end]
            if kind == b"brob":
                try:
                    kind, data = data[:4], decoded(library.brotli_decode, data[4:], out=_MAX_METADATA)
                except Undecodable:
                    notes = ("damaged or very long metadata was left out",)
            if kind == b"Exif":
                exif = EXIF_PREFIX + data[_tiff_at(data) :]
            elif kind == b"xml ":
                xmp = data
    return Decoded(pixels, profile, exif, xmp, None, notes)


def _tiff_at(data: bytes) -> int:
    """Where the TIFF of an EXIF box begins: behind an offset, which some programs leave out."""
    return 0 if data[:4] in (b"II*\0", b"MM\0*") else 4 + int.from_bytes(data[:4], "big")


CODEC = Codec(_header, _decode)
