"""JPEG 2000 by imagecodecs, with profile and channels from its boxes (ISO/IEC 15444-1, annexes A and I)."""

import struct
from typing import BinaryIO, NamedTuple

from adadsr.images._codecs import Codec, Decoded, Header, content_of
from adadsr.images._deep import full_range
from adadsr.images._extras import Undecodable, Unsupported, decoded, load
from adadsr.images._heifboxes import Box, boxes, first_of

_HEAD_BYTES = 1 << 22  # boxes before the code stream, such as a profile
_CODE_STREAM = b"\xff\x4f\xff\x51"
_SRGB, _GRAY = 16, 17
_ENUMERATED, _PROFILE, _ANY_PROFILE = 1, 2, 3
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
    facts = _facts(file)
    pixels = decoded(load("imagecodecs", what).jpeg2k_decode, content_of(file))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[2]
    if channels not in _COLORS or (channels == 4 and not facts.has_alpha):
        raise Unsupported(f"{channels} channels")
    return Decoded(pixels if facts.is_palette else full_range(pixels, (1 << facts.precision[0]) - 1), facts.profile)


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
