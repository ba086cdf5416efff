"""Colour codes in the stream of an AV1 picture (AV1 bitstream specification, 5.5)."""

from adadsr.images._cicp import Cicp

HEAD_BYTES = 64
"""Bytes that hold the sequence header of a picture."""
_SEQUENCE_HEADER = 1
_FULL_COLOR = 1  # the profile of 4:4:4 at 8 and 10 bits; 2 is of all at 12
_SRGB = (1, 13, 0)


class _Bits:
    """Bits of a stream, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("beyond the end")
        return self._value >> self._left & ((1 << count) - 1)


def codes_of_stream(head: bytes) -> Cicp | None:
    """Codes in the stream that begins so; None if it has none, or the long header of videos. Raises ValueError."""
    stream = _Bits(head)
    while True:
        stream.read(1)
        kind, is_extended, has_size, _ = stream.read(4), stream.read(1), stream.read(1), stream.read(1)
        if is_extended:
            stream.read(8)
        size = _size(stream) if has_size else 0
        if kind == _SEQUENCE_HEADER:
            return _codes(stream)
        stream.read(8 * size)


def _size(stream: _Bits) -> int:
    """A number of up to 4 bytes, 7 bits in each, the lowest first."""
    size = 0
    for index in range(4):
        more, bits = stream.read(1), stream.read(7)
        size |= bits << (7 * index)
        if not more:
            break
    return size


def _codes(stream: _Bits) -> Cicp | None:
    profile = stream.read(3)
    stream.read(1)
    if not stream.read(1):  # the short header
        return None
    stream.read(5)
    width_bits, height_bits = stream.read(4) + 1, stream.read(4) + 1
    stream.read(width_bits + height_bits + 6)  # size and tools
    is_deep = stream.read(1)
    if profile > _FULL_COLOR and is_deep:
        stream.read(1)
    if profile != _FULL_COLOR:
        stream.read(1)  # gray
    if not stream.read(1):
        return None
    primaries, transfer, matrix = stream.read(8), stream.read(8), stream.read(8)
    full_range = 1 if (primaries, transfer, matrix) == _SRGB else stream.read(1)
    return Cicp(primaries, transfer, matrix, full_range)
