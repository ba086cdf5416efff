"""JPEG 2000 by imagecodecs, with profile and channels from its boxes (ISO/IEC 15444-1, annexes A and I)."""

import io
import struct
from typing import BinaryIO, NamedTuple

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, Unsupported, content_of, decoded, load
from adadsr.images._deep import full_range
from adadsr.images._isoboxes import Box, boxes, file_boxes, first_of, number
from adadsr.images._resolution import Resolution
from adadsr.images._tiffdir import EXIF_PREFIX

_HEAD_BYTES = 1 << 22  # boxes before the code stream, such as a profile
_CODE_STREAM = b"\xff\x4f\xff\x51"
_STYLE, _TILE_PART, _END = b"\xff\x52", b"\xff\x90", b"\xff\xd9"
_MARKER_BYTES, _WAVELET, _IRREVERSIBLE = 1 << 12, 13, 0  # where the wavelet stands behind the marker of coding style
_SRGB, _GRAY = 16, 17
_ENUMERATED, _PROFILE, _ANY_PROFILE = 1, 2, 3
_XMP_ID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_IDS = (b"JpgTiffExif->JP2", bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"))
_COLORS = {1: 1, 2: 1, 3: 3, 4: 3}  # channels -> those that are colours


class _Facts(NamedTuple):
    """precision: bits of each channel. has_alpha: whether the last channel is declared to be alpha."""

    header: Header
    precision: tuple[int, ...]
    profile: bytes | None
    has_alpha: bool
    is_palette: bool


def _header(file: BinaryIO, what: str) -> Header:
    return _facts(file).header


def _decode(file: BinaryIO, what: str) -> Decoded:
    facts, content = _facts(file), content_of(file)
    library = load("imagecodecs", what)
    if not _is_complete(content):
        raise Undecodable("its end is missing")
    pixels = decoded(library.jpeg2k_decode, content)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[2]
    if channels not in _COLORS or (channels == 4 and not facts.has_alpha):
        raise Unsupported(f"{channels} channels")
    samples = pixels if facts.is_palette else full_range(pixels, (1 << facts.precision[0]) - 1)
    exif, xmp = _metadata(content)
    return Decoded(samples, facts.profile, exif, xmp, resolution=_resolution(content))


def depth_of(head: bytes) -> int:
    """Bits of a sample of the file that begins so. Raises Undecodable, Unsupported."""
    return _facts(io.BytesIO(head)).precision[0]


def is_lossy_jpeg2000(file: BinaryIO) -> bool:
    """Whether the wavelet is the irreversible one (annex A.6.1). Raises OSError, ValueError."""
    file.seek(0)
    start = 0
    if file.read(4) != _CODE_STREAM:
        start = next((box.start for box in file_boxes(file) if box.kind == b"jp2c"), 0)
    file.seek(start)
    head, at = file.read(_MARKER_BYTES), 2
    while head[at : at + 2] not in (_STYLE, _TILE_PART):
        at += 2 + number(head, at + 2, 2)
    return head[at : at + 2] == _STYLE and number(head, at + _WAVELET, 1) == _IRREVERSIBLE


def _is_complete(content: bytes) -> bool:
    """Whether tile after tile leads to the end of the code stream. The decoder is content without it."""
    box = None if content.startswith(_CODE_STREAM) else first_of(content, (b"jp2c",))
    at, end = (0, len(content)) if box is None else (box.start, box.end)
    at += 2
    while at + 4 <= end and content[at : at + 2] != _TILE_PART:
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    while content[at : at + 2] == _TILE_PART:
        size = int.from_bytes(content[at + 6 : at + 10], "big")  # 0 in the last one: up to the end
        at = at + max(size, 12) if size else end - 2
    return at + 2 <= end and content[at : at + 2] == _END


def _metadata(content: bytes) -> tuple[bytes | None, bytes | None]:
    """EXIF block and XMP, each in a box with an identifier."""
    exif, xmp = None, None
    if not content.startswith(_CODE_STREAM):
        for box in boxes(content, 0, len(content)):
            if box.kind == b"uuid":
                kind, data = content[box.start : box.start + 16], content[box.start + 16 : box.end]
                exif = EXIF_PREFIX + data if kind in _EXIF_IDS and exif is None else exif
                xmp = data if kind == _XMP_ID and xmp is None else xmp
    return exif, xmp


def _resolution(content: bytes) -> Resolution | None:
    """That of the capture, otherwise of the display (annex I.5.3.7), which are in pixels per metre."""
    if content.startswith(_CODE_STREAM):
        return None
    for outer in boxes(content, 0, len(content)):
        for box in boxes(content, outer.start, outer.end) if outer.kind == b"jp2h" else ():
            inner = sorted(boxes(content, box.start, box.end)) if box.kind == b"res " else ()
            for each in inner:  # resc before resd
                if each.kind in (b"resc", b"resd") and each.end - each.start >= 10:
                    numbers = struct.unpack_from(">4H2b", content, each.start)
                    vertical, horizontal = (
                        numbers[2 * at] / max(numbers[2 * at + 1], 1) * 10.0 ** numbers[4 + at] for at in (0, 1)
                    )
                    return Resolution.per_metre(horizontal, vertical)
    return None


def _facts(file: BinaryIO) -> _Facts:
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    box = None if head.startswith(_CODE_STREAM) else first_of(head, (b"jp2c",))
    at = box.start if box is not None else 0
    if head[at : at + 4] != _CODE_STREAM or len(head) < at + 42:
        raise Undecodable("no code stream")
    x1, y1, x0, y0 = struct.unpack(">4I", head[at + 8 : at + 24])
    (channels,) = struct.unpack(">H", head[at + 40 : at + 42])
    parts = head[at + 42 : at + 42 + 3 * channels]
    if not 0 < channels <= 4 or len(parts) < 3 * channels or x1 <= x0 or y1 <= y0:
        raise Unsupported(f"{channels} channels")
    if any(part > 1 for index, part in enumerate(parts) if index % 3):
        raise Unsupported("channels of several sizes")
    if any(depth & 0x80 for depth in parts[::3]):
        raise Unsupported("signed samples")
    precision = tuple(1 + (depth & 0x7F) for depth in parts[::3])
    if max(precision) > 16 or len(set(precision)) > 1:
        raise Unsupported(f"{max(precision)}-bit samples")
    profile, has_alpha, is_palette = (None, False, False) if box is None else _boxes(head[:at])
    return _Facts(Header(x1 - x0, y1 - y0), precision, profile, has_alpha, is_palette)


def _boxes(head: bytes) -> tuple[bytes | None, bool, bool]:
    """Profile, whether the last channel is alpha, and whether there is a palette."""
    profile, has_alpha, is_palette = None, False, False
    outer = next((box for box in boxes(head, 0, len(head)) if box.kind == b"jp2h"), Box(b"", 0, 0))
    for box in boxes(head, outer.start, outer.end):
        data = head[box.start : box.end]
        if box.kind == b"colr" and len(data) >= 7:
            if data[0] in (_PROFILE, _ANY_PROFILE):
                profile = profile or data[3:]
            elif data[0] == _ENUMERATED and int.from_bytes(data[3:7], "big") not in (_SRGB, _GRAY):
                raise Unsupported("another colour space than sRGB or gray")
        elif box.kind == b"cdef":
            kinds = [int.from_bytes(data[at + 2 : at + 4], "big") for at in range(2, len(data), 6)]
            has_alpha = bool(kinds) and kinds[-1] == 1
        elif box.kind == b"pclr":
            is_palette = True
    return profile, has_alpha, is_palette


CODEC = Codec(_header, _decode)
