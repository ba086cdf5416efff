"""Animated PNG (third edition, section 11.3.6): libvips decodes each frame as a PNG of its own, for one canvas.

Checksums are tested here, since a frame's file gets new ones.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyvips

from adadsr.formats import PNG_SIGNATURE
from adadsr.images._codecs import Undecodable
from adadsr.images._picture import Pixels
from adadsr.images._pngchunks import chunk, chunk_places

_WITH_ALPHA = (4, 6)  # colour types
_CLEARED, _RESTORED, _OVER = 1, 2, 1
Place = tuple[bytes, int, int]
"""Kind of a chunk, offset and size of its data."""


class _Frame(NamedTuple):
    """One frame: its rectangle, what becomes of it afterwards, how it is drawn, and where its data lies in the file."""

    width: int
    height: int
    left: int
    top: int
    disposal: int
    blend: int
    data: list[Place]


class _Animation(NamedTuple):
    """header: IHDR. palette: PLTE and tRNS, as chunks."""

    header: bytes
    palette: bytes
    frames: list[_Frame]
    has_alpha: bool


def frames_of_png(file: BinaryIO, strictness: str) -> Iterator[Pixels]:
    """Each frame on the canvas, (H, W, 3 or 4) of 8 or 16 bits. Raises Undecodable and pyvips.Error."""
    animation = _read(file)
    width, height = struct.unpack(">II", animation.header[:8])
    channels, dtype = 4 if animation.has_alpha else 3, np.uint16 if animation.header[8] == 16 else np.uint8
    canvas: Pixels = np.zeros((height, width, channels), dtype)
    for number, frame in enumerate(animation.frames):
        before = canvas
        canvas = canvas.copy()
        area = canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        _draw(area, _decoded(file, animation, frame, strictness), frame.blend == _OVER)
        yield canvas
        if frame.disposal == _RESTORED and number:
            canvas = before
        elif frame.disposal in (_CLEARED, _RESTORED):
            canvas = canvas.copy()
            canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width] = 0


def _read(file: BinaryIO) -> _Animation:
    """The parts of an animation without its pixels. Raises Undecodable."""
    header, palette, frames, declared, is_transparent = b"", b"", list[_Frame](), 0, False
    for kind, at, size in chunk_places(file):
        if kind == b"IHDR":
            header = _checked(file, kind, at, size)
        elif kind in (b"PLTE", b"tRNS"):
            palette += chunk(kind, _checked(file, kind, at, size))
            is_transparent |= kind == b"tRNS"
        elif kind == b"acTL":
            declared = int.from_bytes(_checked(file, kind, at, size)[:4], "big")
        elif kind == b"fcTL":
            control = _checked(file, kind, at, size)
            width, height, left, top, disposal, blend = struct.unpack(">4x4I4x2B", control.ljust(26, b"\0")[:26])
            frames.append(_Frame(width, height, left, top, disposal, blend, []))
        elif frames and kind in (b"IDAT", b"fdAT"):  # before a frame it is for programs that show no animations
            frames[-1].data.append((kind, at, size))
    if len(header) != 13 or not frames or len(frames) != declared:
        raise Undecodable("frames are missing")
    width, height = struct.unpack(">II", header[:8])
    for frame in frames:
        if not (0 < frame.width <= width - frame.left and 0 < frame.height <= height - frame.top and frame.data):
            raise Undecodable("a frame lies outside of the picture")
    is_cleared = any(frame.disposal == _CLEARED for frame in frames) or frames[0].disposal == _RESTORED
    is_partial = (frames[0].width, frames[0].height) != (width, height)
    has_alpha = header[9] in _WITH_ALPHA or is_transparent or is_cleared or is_partial
    return _Animation(header, palette, frames, has_alpha)


def _checked(file: BinaryIO, kind: bytes, at: int, size: int) -> bytes:
    """The data of a chunk. Raises Undecodable if its checksum is wrong."""
    file.seek(at)
    data, checksum = file.read(size), file.read(4)
    if zlib.crc32(kind + data).to_bytes(4, "big") != checksum:
        raise Undecodable(f"{kind.decode('latin-1')} has a wrong checksum")
    return data


def _decoded(file: BinaryIO, animation: _Animation, frame: _Frame, strictness: str) -> Pixels:
    """The pixels of a frame alone, (H, W, 3 or 4). Raises Undecodable and pyvips.Error."""
    data = b"".join(_checked(file, *place)[4 if place[0] == b"fdAT" else 0 :] for place in frame.data)
    header = struct.pack(">II", frame.width, frame.height) + animation.header[8:]
    content = PNG_SIGNATURE + chunk(b"IHDR", header) + animation.palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    image: Any = pyvips.Image.pngload_buffer(content, access="sequential", fail_on=strictness)
    pixels: Pixels = image.numpy().reshape(frame.height, frame.width, image.bands)
    if pixels.shape[2] <= 2:
        pixels = np.concatenate([pixels[..., :1].repeat(3, 2), pixels[..., 1:]], 2)
    return pixels


def _draw(area: Pixels, pixels: Pixels, over: bool) -> None:
    """Put a frame on its part of the canvas: over it, or in its place."""
    top = np.iinfo(area.dtype).max
    if pixels.shape[2] == 3:
        area[..., :3] = pixels
        area[..., 3:] = top
        return
    if not over:
        area[...] = pixels
        return
    alpha, below = pixels[..., 3:] / top, area[..., 3:] / top
    below = below * (1 - alpha)
    together = alpha + below
    mixed = (pixels[..., :3] * alpha + area[..., :3] * below) / np.maximum(together, np.finfo(float).tiny)
    area[..., :3] = np.rint(mixed)
    area[..., 3:] = np.rint(together * top)
