"""The blocks of a GIF, and whether its pixels are complete: libvips fills up what is missing, without a word.

Source: the GIF89a specification, appendix F. Only the lengths of codes are followed, not their pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

_MOST_PIXELS = 1 << 24
"""Larger pictures are not checked: Python follows about a million codes a second."""
_MOST_CODES = 4096
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9


class Still(NamedTuple):
    """The picture of a GIF, from its descriptor on, with a palette of its own; index of its transparent colour."""

    picture: bytes
    transparent: int | None


def gif_still(data: bytes) -> Still:
    """The first picture of a healthy GIF."""
    table = _table_bytes(data[10])
    at, transparent = 13 + table, None
    while data[at] == _EXTENSION:
        if data[at + 1] == _CONTROL and data[at + 3] & 1:
            transparent = data[at + 6]
        at = _after_blocks(data, at + 2)[0]
    own = _table_bytes(data[at + 9])
    colors, flags = data[13 : 13 + table], data[at + 9] & 0x40 | 0x80 | data[10] & 7
    if own:
        colors, flags = data[at + 10 : at + 10 + own], data[at + 9]
    codes_at = at + 10 + own
    end = _after_blocks(data, codes_at + 1)[0]
    return Still(data[at : at + 9] + bytes((flags,)) + colors + data[codes_at:end], transparent)


def wrong_codes(data: bytes) -> str | None:
    """What is wrong with the codes of the first picture of a file; None if nothing is, or if it cannot be told."""
    try:
        return _wrong(*next(_pictures(data)))
    except (IndexError, ValueError, StopIteration):
        return None  # libvips judges the blocks


def wrong_animation(data: bytes) -> str | None:
    """What is wrong with the frames of a file; None if nothing is. Codes beyond `_MOST_PIXELS` are not followed."""
    left = _MOST_PIXELS
    try:
        for pixels, code_size, codes in _pictures(data):
            left -= pixels
            wrong = _wrong(pixels, code_size, codes) if left >= 0 else None
            if wrong is not None:
                return wrong
    except (IndexError, ValueError):
        return "its end is missing"
    return None


def _wrong(pixels: int, code_size: int, codes: bytes) -> str | None:
    if pixels > _MOST_PIXELS or not 1 <= code_size <= 11:
        return None
    coded = _coded_pixels(codes, code_size, pixels)
    if coded is None:
        return "its compressed data has a code without meaning"
    return None if coded == pixels else f"its compressed data has {coded} of {pixels} pixels"


def _pictures(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number of pixels, initial size of codes in bits, and compressed data of each picture, up to the end mark."""
    at = 13 + _table_bytes(data[10])
    while data[at] != _END:
        if data[at] == _EXTENSION:
            at = _after_blocks(data, at + 2)[0]
            continue
        if data[at] != _PICTURE:
            raise ValueError("neither a picture nor an extension")
        width, height = (int.from_bytes(data[at + offset : at + offset + 2], "little") for offset in (5, 7))
        at += 10 + _table_bytes(data[at + 9])
        code_size = data[at]
        at, codes = _after_blocks(data, at + 1)
        yield width * height, code_size, codes


def _table_bytes(flags: int) -> int:
    """Size of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> tuple[int, bytes]:
    """Where a sequence of blocks ends, and what they hold together."""
    parts = []
    while data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return at + 1, b"".join(parts)


def _coded_pixels(codes: bytes, code_size: int, most: int) -> int | None:
    """Number of pixels that LZW codes stand for, or one that is larger than `most`; None if a code is undefined."""
    clear, end = 1 << code_size, (1 << code_size) + 1
    lengths, size, previous = [1] * clear + [0, 0], code_size + 1, 0
    total, buffer, bits = 0, 0, 0
    for byte in codes:
        buffer |= byte << bits
        bits += 8
        while bits >= size:
            code = buffer & ((1 << size) - 1)
            buffer >>= size
            bits -= size
            if code == clear:
                lengths, size, previous = [1] * clear + [0, 0], code_size + 1, 0
                continue
            if code == end:
                return total
            if code > len(lengths) or (code == len(lengths) and not previous):
                return None
            length = lengths[code] if code < len(lengths) else previous + 1
            if previous and len(lengths) < _MOST_CODES:
                lengths.append(previous + 1)
                if len(lengths) == 1 << size and size < 12:
                    size += 1
            total, previous = total + length, length
            if total > most:
                return total
    return total
