"""BMP, without compression: palettes, 16 to 32 bits with masks, alpha, and the profile of the newest header."""

import struct
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, Unsupported, content_of
from adadsr.images._deep import gray_if_equal
from adadsr.images._picture import Pixels
from adadsr.images._resolution import Resolution

_FILE_HEADER = 14
_CORE, _SHORT, _INFO, _MASKED, _WITH_ALPHA, _OS2, _V4, _V5 = 12, 16, 40, 52, 56, 64, 108, 124
_HEADERS = (_CORE, _SHORT, _INFO, _MASKED, _WITH_ALPHA, _OS2, _V4, _V5)
"""Sizes of the second header, which tell its version."""
_PLAIN, _MASKS, _ALPHA_MASKS = 0, 3, 6
_COMPRESSIONS = {1: "run-length encoding", 2: "run-length encoding", 4: "JPEG inside", 5: "PNG inside"}
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_EMBEDDED = b"DEBM"
_MOST_BITS = 16  # of a sample


class _Facts(NamedTuple):
    """start: offset of the pixels. after: offset of what follows the header. used: entries of the palette, or 0."""

    size: int
    width: int
    height: int
    bits: int
    compression: int
    start: int
    used: int
    top_down: bool

    @property
    def after(self) -> int:
        return _FILE_HEADER + self.size

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return (self.width * self.bits + 31) // 32 * 4


def _header(file: BinaryIO, what: str) -> Header:
    file.seek(0)
    facts = _facts(file.read(_FILE_HEADER + _INFO))
    return Header(facts.width, facts.height)


def _facts(head: bytes) -> _Facts:
    if len(head) < _FILE_HEADER + _CORE:
        raise Undecodable("its header is missing")
    start, size = struct.unpack("<II", head[10:18])
    if size not in _HEADERS or len(head) < _FILE_HEADER + min(size, _INFO):
        raise Undecodable("unknown header")
    compression, used = _PLAIN, 0
    if size == _CORE:
        width, height, _, bits = struct.unpack("<HHHH", head[18:26])
    else:
        width, height, _, bits = struct.unpack("<iiHH", head[18:30])
        if size >= _INFO:
            compression, used = struct.unpack("<I12xI", head[30:50])
    if width <= 0 or height == 0:
        raise Undecodable("it has no pixels")
    return _Facts(size, width, abs(height), bits, compression, start, used, height < 0)


def _decode(file: BinaryIO, what: str) -> Decoded:
    content = content_of(file)
    facts = _facts(content)
    has_masks = facts.compression in (_MASKS, _ALPHA_MASKS) and facts.bits in _DEFAULT_MASKS and facts.size != _OS2
    if facts.compression != _PLAIN and not has_masks:
        raise Unsupported(_COMPRESSIONS.get(facts.compression, f"scheme {facts.compression}"))
    rows = np.frombuffer(content, np.uint8)[facts.start : facts.start + facts.stride * facts.height]
    if len(rows) < facts.stride * facts.height:
        raise Undecodable("pixel data is missing")
    rows = rows.reshape(facts.height, facts.stride)[:: 1 if facts.top_down else -1]
    if facts.bits in (1, 4, 8):
        pixels = _looked_up(_indices(rows, facts), _palette(content, facts))
    elif facts.bits == 24:
        pixels = rows[:, : 3 * facts.width].reshape(facts.height, facts.width, 3)[..., ::-1]
    elif facts.bits in _DEFAULT_MASKS:
        pixels = _masked(rows, facts, _masks(content, facts) if has_masks else _DEFAULT_MASKS[facts.bits])
    else:
        raise Unsupported(f"{facts.bits} bits a pixel")
    pixels = np.ascontiguousarray(gray_if_equal(pixels, tolerance=0))
    return Decoded(pixels, _profile(content, facts), resolution=_resolution(content, facts))


def _indices(rows: Pixels, facts: _Facts) -> Pixels:
    """Entries of the palette (H, W)."""
    if facts.bits == 1:
        rows = np.unpackbits(rows, axis=1)
    elif facts.bits == 4:
        rows = np.stack([rows >> 4, rows & 15], 2).reshape(facts.height, 2 * facts.stride)
    return rows[:, : facts.width]


def _palette(content: bytes, facts: _Facts) -> Pixels:
    """Colours (N, 3)."""
    entry = 3 if facts.size == _CORE else 4
    room = max(0, min(facts.start, len(content)) - facts.after) // entry
    count = min(facts.used or 1 << facts.bits, 1 << facts.bits, room)
    entries = np.frombuffer(content, np.uint8, count * entry, facts.after if count else 0)
    return entries.reshape(count, entry)[:, 2::-1]


def _looked_up(indices: Pixels, palette: Pixels) -> Pixels:
    if indices.max() >= len(palette):
        raise Undecodable("a color is missing in its palette")
    return palette[indices]


def _masks(content: bytes, facts: _Facts) -> tuple[int, ...]:
    """Bits of red, green, blue and alpha in a pixel: in the header, or behind a shorter one."""
    has_alpha = facts.size >= _WITH_ALPHA or facts.compression == _ALPHA_MASKS
    masks = content[_FILE_HEADER + _INFO :][: 16 if has_alpha else 12]
    if len(masks) < (16 if has_alpha else 12):
        raise Undecodable("its masks are missing")
    return struct.unpack("<4I", masks.ljust(16, b"\0"))


def _masked(rows: Pixels, facts: _Facts, masks: tuple[int, ...]) -> Pixels:
    """Pixels of several samples each. An alpha of 0 everywhere means that there is none."""
    words = np.ascontiguousarray(rows).view(f"<u{facts.bits // 8}")[:, : facts.width]
    shifts = [(mask & -mask).bit_length() - 1 for mask in masks]
    tops = [mask >> max(shift, 0) for mask, shift in zip(masks, shifts, strict=True)]
    if 0 in tops[:3] or any(top & (top + 1) or top >> _MOST_BITS for top in tops) or max(masks) >> facts.bits:
        raise Unsupported("other masks than of 1 to 16 bits for red, green and blue")
    has_alpha = bool(masks[3]) and bool((words & words.dtype.type(masks[3])).any())
    dtype: type[np.uint8 | np.uint16] = np.uint8 if max(tops) < 256 else np.uint16
    pixels = np.empty((facts.height, facts.width, 4 if has_alpha else 3), dtype)
    for channel in range(pixels.shape[2]):
        samples = words >> words.dtype.type(shifts[channel]) & words.dtype.type(tops[channel])
        pixels[..., channel] = _spread(samples, tops[channel], int(np.iinfo(dtype).max))
    return pixels


def _spread(samples: npt.NDArray[np.unsignedinteger], top: int, full: int) -> npt.NDArray[np.uint32]:
    """Samples in 0..top over 0..full."""
    spread: npt.NDArray[np.uint32] = (samples.astype(np.uint32) * full + top // 2) // top
    return spread


def _profile(content: bytes, facts: _Facts) -> bytes | None:
    """That of the newest header, if it lies in the file."""
    if facts.size != _V5 or content[_FILE_HEADER + 56 :][:4] != _EMBEDDED:
        return None
    at, size = struct.unpack("<II", content[_FILE_HEADER + 112 :][:8])
    profile = content[_FILE_HEADER + at :][:size]
    return profile if size and len(profile) == size else None


def _resolution(content: bytes, facts: _Facts) -> Resolution | None:
    """Of headers that have it, in pixels per metre."""
    if facts.size < _INFO:
        return None
    horizontal, vertical = struct.unpack("<ii", content[38:46])
    return Resolution.per_metre(horizontal, vertical)


CODEC = Codec(_header, _decode)
