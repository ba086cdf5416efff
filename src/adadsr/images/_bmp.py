"""BMP by imagecodecs, which leaves alpha out of files with some headers. Alpha of 0 everywhere means none."""

import struct
from typing import BinaryIO

import numpy as np

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, content_of, decoded, load
from adadsr.images._picture import Pixels
from adadsr.images._resolution import Resolution

_CORE_HEADER, _INFO_HEADER, _MASKED_HEADER = 12, 40, 56  # the oldest; with a resolution; with a mask for alpha
_BYTE_MASKS = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)


def _header(file: BinaryIO, what: str) -> Header:
    file.seek(14)
    head = file.read(12)
    if len(head) < 12:
        raise Undecodable("its header is missing")
    if int.from_bytes(head[:4], "little") == _CORE_HEADER:
        width, height = struct.unpack("<HH", head[4:8])
    else:
        width, height = struct.unpack("<ii", head[4:12])
    if width <= 0 or height == 0:
        raise Undecodable("it has no pixels")
    return Header(width, abs(height))


def _decode(file: BinaryIO, what: str) -> Decoded:
    content = content_of(file)
    resolution = _resolution(content)
    pixels = decoded(load("imagecodecs", what).bmp_decode, content)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 4:
        opaque = pixels if pixels[..., 3].any() else np.ascontiguousarray(pixels[..., :3])
        return Decoded(opaque, resolution=resolution)
    alpha = _alpha(content, *pixels.shape[:2])
    return Decoded(pixels if alpha is None else np.concatenate([pixels, alpha], 2), resolution=resolution)


def _resolution(content: bytes) -> Resolution | None:
    """Of headers that have it, in pixels per metre."""
    if len(content) < 46 or int.from_bytes(content[14:18], "little") < _INFO_HEADER:
        return None
    horizontal, vertical = struct.unpack("<ii", content[38:46])
    return Resolution.per_metre(horizontal, vertical)


def _alpha(content: bytes, height: int, width: int) -> Pixels | None:
    """Alpha (H, W, 1) of 32-bit pixels with a mask for it; None without, or if it is 0 everywhere, as for no alpha."""
    (start,) = struct.unpack("<I", content[10:14])
    (header,) = struct.unpack("<I", content[14:18])
    if header < _MASKED_HEADER or content[28:30] != b"\x20\0":
        return None
    (mask,) = struct.unpack("<I", content[66:70])
    data = content[start : start + 4 * width * height]
    if mask not in _BYTE_MASKS or len(data) < 4 * width * height:
        return None
    alpha = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., _BYTE_MASKS.index(mask), None]
    (signed_height,) = struct.unpack("<i", content[22:26])
    upright: Pixels = alpha if signed_height < 0 else alpha[::-1]
    return upright if upright.any() else None


CODEC = Codec(_header, _decode)
