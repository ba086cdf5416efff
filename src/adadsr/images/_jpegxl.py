"""JPEG XL: pixels by imagecodecs, at up to 16 bits; the profile by pillow-jxl-plugin, whose pixels have 8."""

from typing import BinaryIO

import numpy as np

from adadsr.images._codecs import Codec, Decoded, Header, content_of
from adadsr.images._exif import PREFIX
from adadsr.images._extras import Undecodable, Unsupported, decoded, load
from adadsr.images._heifboxes import boxes, first_of

_HEAD_BYTES = 1 << 22  # boxes before the code stream
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


def _header(file: BinaryIO, what: str) -> Header:
    """Of the size header (ISO/IEC 18181-1, D.2) and the orientation after it."""
    file.seek(0)
    stream = _stream(file.read(_HEAD_BYTES))
    if len(stream) < 16:
        raise Undecodable("no code stream")
    bits = _Bits(stream[2:16])
    small = bits.read(1)

    def side() -> int:
        return 8 * (bits.read(5) + 1) if small else bits.read((9, 13, 18, 30)[bits.read(2)]) + 1

    height = side()
    ratio = bits.read(3)
    width = height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else side()
    all_default = bits.read(1)
    orientation = bits.read(3) + 1 if not all_default and bits.read(1) else 1
    return Header(height, width) if orientation >= 5 else Header(width, height)


def _stream(head: bytes) -> bytes:
    """The beginning of the code stream."""
    if head.startswith(_CODE_STREAM):
        return head[:16]
    box = first_of(head, (b"jxlc", b"jxlp"))
    if box is None:
        return b""
    start = box.start + (4 if box.kind == b"jxlp" else 0)  # the number of the part
    return head[start : start + 16]


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
                exif = PREFIX + data[_tiff_at(data) :]
            elif kind == b"xml ":
                xmp = data
    return Decoded(pixels, profile, exif, xmp, None, notes)


def _tiff_at(data: bytes) -> int:
    """Where the TIFF of an EXIF box begins: behind an offset, which some programs leave out."""
    return 0 if data[:4] in (b"II*\0", b"MM\0*") else 4 + int.from_bytes(data[:4], "big")


CODEC = Codec(_header, _decode)
