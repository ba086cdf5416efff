"""Headers of a JPEG XL (ISO/IEC 18181-1, annexes D to F): size, orientation, depth, and whether it is lossy."""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from adadsr.images._codecs import Undecodable
from adadsr.images._isoboxes import file_boxes, first_of

HEAD_BYTES = 1 << 22
"""Bytes that hold the boxes before the code stream."""
CODE_STREAM = b"\xff\x0a"
_STREAM_BYTES = 64  # of its headers that are read
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height
_CHANNEL_BYTES = 64  # of more headers, for extra channels and colours
_MAX_CHANNELS = 4
_ALPHA, _SPOT, _FILTER = 0, 2, 5
_GRAY, _XYB, _CUSTOM = 1, 2, 2


class _Bits:
    """Bits of a code stream, the lowest of each byte first; zeros after its end."""

    def __init__(self, data: bytes) -> None:
        self._left, self._position = int.from_bytes(data, "little"), 0

    def read(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        self._position += count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """A number in one of four ways: a base, and the count of bits to add."""
        base, count = choices[self.read(2)]
        return base + self.read(count)

    def enum(self) -> int:
        return self.choose((0, 0), (1, 0), (2, 4), (18, 6))

    def align(self) -> None:
        """Go to the next whole byte."""
        self.read(-self._position % 8)


class JxlFacts(NamedTuple):
    """Of the code stream. bits: of a colour sample."""

    width: int
    height: int
    orientation: int
    bits: int


class _Unusual(Exception):
    """Headers that are not read to their end."""


def read_facts(head: bytes) -> JxlFacts:
    """Of the file that begins so. Raises Undecodable."""
    stream = _stream(head)
    if len(stream) < 16:
        raise Undecodable("no code stream")
    return _facts(_Bits(stream[2:]))[0]


def depth_of(head: bytes) -> int:
    """Bits of a colour sample of the file that begins so. Raises Undecodable."""
    return read_facts(head).bits


def is_lossy_jxl(file: BinaryIO) -> bool:
    """Whether colours are XYB, or the first frame is compressed by DCT, as in JPEGs that were packed again.

    Lossless samples are in modular frames, in the colours of the picture. Only the box of JPEGs tells of DCT behind a
    profile, which is compressed as well. Raises OSError, ValueError, OverflowError.
    """
    file.seek(0)
    wanted = _STREAM_BYTES + _CHANNEL_BYTES
    stream = file.read(wanted)
    if not stream.startswith(CODE_STREAM):
        stream = b""
        for box in file_boxes(file):
            if box.kind == b"jbrd":
                return True
            if box.kind in (b"jxlc", b"jxlp") and len(stream) < wanted:
                start = box.start + _number_bytes(box.kind)
                file.seek(start)
                stream += file.read(max(0, min(box.end - start, wanted)))
    try:
        return stream.startswith(CODE_STREAM) and _is_lossy(_Bits(stream[2:]))
    except _Unusual:
        return False


def _number_bytes(kind: bytes) -> int:
    """Of the number of a part, in front of its data."""
    return 4 if kind == b"jxlp" else 0


def _is_lossy(bits: _Bits) -> bool:
    _, is_default, has_extra = _facts(bits)
    if is_default:
        return True  # XYB
    bits.read(1)  # whether 16 bits suffice
    channels = bits.choose((0, 0), (1, 0), (2, 4), (1, 12))
    if channels > _MAX_CHANNELS:
        raise _Unusual
    for _ in range(channels):
        _skip_channel(bits)
    if bits.read(1):  # XYB
        return True
    _skip_color(bits)
    if has_extra and not bits.read(1):  # tone mapping
        bits.read(16 + 16 + 1 + 16)
    if bits.choose((0, 0), (1, 4), (17, 8), (1, 12)):  # extensions
        raise _Unusual
    if not bits.read(1):  # transforms of their own
        raise _Unusual
    bits.align()
    if bits.read(1):  # a frame with everything by default
        return True
    bits.read(2)  # its kind
    return not bits.read(1)  # modular


def _facts(bits: _Bits) -> tuple[JxlFacts, bool, bool]:
    """Of the size header and the image metadata, up to the depth; whether all is by default, and has extra fields."""
    width, height = _size(bits)
    if bits.read(1):
        return JxlFacts(width, height, 1, 8), True, False
    orientation = 1
    has_extra = bool(bits.read(1))
    if has_extra:
        orientation = bits.read(3) + 1
        if bits.read(1):  # the size to show it at
            _size(bits)
        if bits.read(1):
            _skip_preview(bits)
        if bits.read(1):
            _skip_animation(bits)
    return JxlFacts(width, height, orientation, _depth(bits)), False, has_extra


def _depth(bits: _Bits) -> int:
    """Bits of a sample."""
    if bits.read(1):  # floating point
        depth = bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.read(4)  # of the exponent
        return depth
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6))


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


def _skip_channel(bits: _Bits) -> None:
    """Skip what describes an extra channel, such as alpha."""
    if bits.read(1):
        return
    kind = bits.enum()
    _depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))  # its size
    bits.read(8 * bits.choose((0, 0), (0, 4), (16, 5), (48, 10)))  # its name
    if kind == _ALPHA:
        bits.read(1)  # premultiplied
    elif kind == _SPOT:
        bits.read(4 * 16)
    elif kind == _FILTER:
        bits.choose((1, 0), (0, 2), (3, 4), (19, 8))


def _skip_color(bits: _Bits) -> None:
    """Skip what describes the colours. Raises _Unusual for a profile."""
    if bits.read(1):  # sRGB
        return
    if bits.read(1):
        raise _Unusual
    space = bits.enum()
    if space != _XYB and bits.enum() == _CUSTOM:  # white point
        _skip_point(bits)
    if space not in (_GRAY, _XYB) and bits.enum() == _CUSTOM:  # primaries
        for _ in range(3):
            _skip_point(bits)
    if space != _XYB:  # transfer function
        if bits.read(1):
            bits.read(24)
        else:
            bits.enum()
    bits.enum()  # rendering intent


def _skip_point(bits: _Bits) -> None:
    for _ in range(2):
        bits.choose((0, 19), (0, 19), (0, 20), (0, 21))


def _stream(head: bytes) -> bytes:
    """The beginning of the code stream."""
    if head.startswith(CODE_STREAM):
        return head[:_STREAM_BYTES]
    box = first_of(head, (b"jxlc", b"jxlp"))
    if box is None:
        return b""
    start = box.start + _number_bytes(box.kind)
    return head[start : start + _STREAM_BYTES]
