"""Animated PNG, WebP and GIF, written frame by frame: libvips encodes each frame, this module joins them.

A frame holds the rectangle that changed since the one before, which it replaces; in a GIF it holds everything.
"""

import io
from collections.abc import Callable
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from adadsr.formats import PNG_SIGNATURE, Encoding, Format
from adadsr.images._encoding import save
from adadsr.images._frames import Facts
from adadsr.images._gifcheck import gif_still
from adadsr.images._picture import Picture, Pixels
from adadsr.images._pngchunks import chunk, chunks_of
from adadsr.images._vips import image_of
from adadsr.images._webpchunks import (
    ALPHA_FLAG,
    ANIMATION_FLAG,
    EXIF_FLAG,
    ICC_FLAG,
    XMP_FLAG,
    extended_header,
    packed,
    parsed,
)

_MOST_MILLISECONDS = (1 << 24) - 1
_LOSSLESS = 100  # quality
_SIXTEEN_BIT_STEP = 257  # 65535 / 255


class Writer(Protocol):
    """An animation that is being written. Its methods raise pyvips.Error and OSError."""

    def add(self, picture: Picture) -> None:
        """Write the next frame. Metadata is that of the first."""

    def close(self) -> None:
        """Complete the file."""


class _PngWriter:
    """PNG, third edition, section 11.3.6."""

    def __init__(self, file: BinaryIO, target: Format, quality: int, facts: Facts) -> None:
        self._file, self._target, self._quality, self._facts = file, target, quality, facts
        self._changes, self._delays, self._number = _Changes(1), iter(facts.delays), 0

    def add(self, picture: Picture) -> None:
        top, left, part = self._changes.next(picture)
        first = self._number == 0
        if not part.size:
            part = picture.pixels[:1, :1]
        chunks = chunks_of(_still(picture if first else _bare(part), self._target, self._quality))
        height, width = part.shape[:2]
        control = b"".join(number.to_bytes(4, "big") for number in (width, height, left, top))
        above, below = _fraction(next(self._delays))
        control += above.to_bytes(2, "big") + below.to_bytes(2, "big") + bytes(2)  # stays; replaces what was there
        has_control = False
        for kind, data in chunks:
            if kind == b"IDAT":
                if not has_control:
                    self._write(b"fcTL", self._next_number() + control)
                    has_control = True
                self._write(*((b"IDAT", data) if first else (b"fdAT", self._next_number() + data)))
            elif first and kind != b"IEND":
                self._write(kind, data)
                if kind == b"IHDR":
                    counts = (len(self._facts.delays), self._facts.plays)
                    self._write(b"acTL", b"".join(number.to_bytes(4, "big") for number in counts))

    def close(self) -> None:
        self._write(b"IEND", b"")

    def _next_number(self) -> bytes:
        self._number += 1
        return (self._number - 1).to_bytes(4, "big")

    def _write(self, kind: bytes, data: bytes) -> None:
        if self._file.tell() == 0:
            self._file.write(PNG_SIGNATURE)
        self._file.write(chunk(kind, data))


class _WebpWriter:
    """RFC 9649, section 2.7."""

    def __init__(self, file: BinaryIO, target: Format, quality: int, facts: Facts) -> None:
        self._file, self._target, self._quality, self._facts = file, target, quality, facts
        self._changes, self._delays = _Changes(2), iter(facts.delays)
        self._after: list[tuple[bytes, bytes]] = []

    def add(self, picture: Picture) -> None:
        is_first = self._file.tell() == 0
        top, left, part = self._changes.next(picture)
        same = part.size == 0
        if same:  # a transparent pixel, drawn onto what is there: a lossy one would change it
            part = np.zeros((1, 1, 4), np.uint8)
        quality = _LOSSLESS if same else self._quality
        found = parsed(_still(picture if is_first else _bare(part), self._target, quality))
        if is_first:
            self._begin(picture, dict(found))
        height, width = part.shape[:2]
        delay = min(next(self._delays), _MOST_MILLISECONDS)
        numbers = (left // 2, top // 2, width - 1, height - 1, delay)
        flags = bytes((0 if same else 2,))  # stays; 2: replaces what was there
        head = b"".join(number.to_bytes(3, "little") for number in numbers) + flags
        pixels = b"".join(packed(kind, data) for kind, data in found if kind in (b"ALPH", b"VP8 ", b"VP8L"))
        self._file.write(packed(b"ANMF", head + pixels))

    def close(self) -> None:
        for kind, data in self._after:
            self._file.write(packed(kind, data))
        size = self._file.tell()
        self._file.seek(4)
        self._file.write((size - 8).to_bytes(4, "little"))
        self._file.seek(size)

    def _begin(self, picture: Picture, found: dict[bytes, bytes]) -> None:
        flags = ANIMATION_FLAG | ALPHA_FLAG  # of frames that stay the same
        for kind, flag in ((b"ICCP", ICC_FLAG), (b"EXIF", EXIF_FLAG), (b"XMP ", XMP_FLAG)):
            flags |= flag if kind in found else 0
        self._file.write(b"RIFF" + bytes(4) + b"WEBP")
        self._file.write(packed(b"VP8X", extended_header(flags, picture.width, picture.height)))
        if b"ICCP" in found:
            self._file.write(packed(b"ICCP", found[b"ICCP"]))
        self._file.write(packed(b"ANIM", bytes(4) + min(self._facts.plays, 65535).to_bytes(2, "little")))
        self._after = [(kind, found[kind]) for kind in (b"EXIF", b"XMP ") if kind in found]


class _GifWriter:
    """GIF89a. Each frame has a palette of its own."""

    def __init__(self, file: BinaryIO, target: Format, quality: int, facts: Facts) -> None:
        self._file, self._target, self._facts = file, target, facts
        self._delays = iter(facts.delays)

    def add(self, picture: Picture) -> None:
        if self._file.tell() == 0:
            sides = b"".join(side.to_bytes(2, "little") for side in (picture.width, picture.height))
            self._file.write(b"GIF89a" + sides + bytes(3))
            if self._facts.plays != 1:  # it counts repetitions
                repeats = min(max(self._facts.plays - 1, 0), 65535)
                self._file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + repeats.to_bytes(2, "little") + b"\0")
        still = gif_still(_encoded_gif(picture, self._target))
        disposal = 2 if picture.has_alpha else 1  # cleared, or left in place
        flags = disposal << 2 | (still.transparent is not None)
        delay = min(round(next(self._delays) / 10), 65535).to_bytes(2, "little")
        self._file.write(b"\x21\xf9\x04" + bytes((flags,)) + delay + bytes((still.transparent or 0, 0)))
        self._file.write(still.picture)

    def close(self) -> None:
        self._file.write(b"\x3b")


def _encoded_gif(picture: Picture, target: Format) -> bytes:
    pixels = picture.pixels
    if picture.bits == 16:
        pixels = np.rint(pixels / _SIXTEEN_BIT_STEP).astype(np.uint8)
    image = image_of(np.ascontiguousarray(pixels), "srgb" if picture.pixels.shape[2] >= 3 else "b-w")
    options = target.save_options(Encoding(100, 8, picture.pixels.nbytes))
    content: bytes = image.gifsave_buffer(**options)
    return content


class _Changes:
    """What changes from frame to frame. step: rectangles begin at multiples of it."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._before: Pixels | None = None

    def next(self, picture: Picture) -> tuple[int, int, Pixels]:
        """First row and column of the smallest rectangle that differs from the frame before, and its pixels.

        It is empty if nothing differs.
        """
        before, self._before = self._before, picture.pixels
        if before is None:
            return 0, 0, picture.pixels
        differs: npt.NDArray[np.bool_] = (before != picture.pixels).any(axis=2)
        rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
        if not len(rows):
            return 0, 0, picture.pixels[:0, :0]
        top, left = (int(side[0]) // self._step * self._step for side in (rows, columns))
        return top, left, picture.pixels[top : rows[-1] + 1, left : columns[-1] + 1]


def _bare(pixels: Pixels) -> Picture:
    return Picture(np.ascontiguousarray(pixels))


def _still(picture: Picture, target: Format, quality: int) -> bytes:
    """A picture as a file of its own."""
    file = io.BytesIO()
    save(picture, target, quality, file)
    return file.getvalue()


def _fraction(milliseconds: int) -> tuple[int, int]:
    """A delay as a fraction of a second with numbers of 16 bits."""
    for below in (1000, 100, 10):
        if milliseconds * below <= 65535 * 1000:
            return round(milliseconds * below / 1000), below
    return min(round(milliseconds / 1000), 65535), 1


WRITERS: dict[str, Callable[[BinaryIO, Format, int, Facts], Writer]] = {
    "png": _PngWriter,
    "webp": _WebpWriter,
    "gif": _GifWriter,
}
"""By codec."""
