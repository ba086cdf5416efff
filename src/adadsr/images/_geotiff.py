"""GeoTIFF tags (OGC 19-008r4), which follow the size of the picture."""

import io
import struct
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.images._tiffdir import BLOCK_LAYOUT, DAMAGE, Directory, Value, read_directory, read_header, serialised

Numbers: TypeAlias = npt.NDArray[np.float64]

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
TAGS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, 34736, 34737, 42112, 42113, _RPC)
"""Those of GeoTIFF, GDAL's metadata and value for no data, and rational polynomial coefficients."""
_RPC_NUMBERS = 92
_RPC_OFFSETS, _RPC_SCALES = slice(2, 4), slice(7, 9)  # of line and sample: vertical, horizontal
_DOUBLE = 12
_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_MAX_BYTES = 1 << 20
_HEADER = 8


def packed(found: Directory) -> bytes | None:
    """The tags of a directory as a small TIFF of their own; None without any."""
    tags = {tag: found[tag] for tag in TAGS if tag in found}
    if not tags:
        return None
    return b"II*\0" + struct.pack("<I", _HEADER) + serialised(tags, _HEADER, BLOCK_LAYOUT, [])


def scaled(block: bytes | None, horizontal: float, vertical: float) -> Directory:
    """The tags of a picture enlarged by two factors; none if they are damaged."""
    if block is None:
        return {}
    try:
        layout, first = read_header(file := io.BytesIO(block))
        tags = read_directory(file, first, layout, _MAX_BYTES)
        # A sample sits at the centre of its pixel (PixelIsPoint) or fills it from its corner.
        half = 0.5 if _is_point(tags) else 0.0
        factors = np.array([horizontal, vertical, 1.0])
        if (scale := _doubles(tags, _PIXEL_SCALE, 3)) is not None:
            tags[_PIXEL_SCALE] = _value(scale / factors)
        if (points := _doubles(tags, _TIE_POINTS, 6)) is not None:
            offset = np.array([half, half, 0.0])
            points[:, :3] = (points[:, :3] + offset) * factors - offset
            tags[_TIE_POINTS] = _value(points)
        if (matrix := _doubles(tags, _TRANSFORMATION, 16)) is not None:
            matrix = matrix.reshape(4, 4)
            matrix[:3, 3] += matrix[:3, :2] @ (half / factors[:2] - half)
            matrix[:3, :2] /= factors[:2]
            tags[_TRANSFORMATION] = _value(matrix)
        if (terms := _doubles(tags, _RPC, _RPC_NUMBERS)) is not None:  # whose samples sit at the centres of pixels
            across = np.array([vertical, horizontal])
            terms[0, _RPC_OFFSETS] = (terms[0, _RPC_OFFSETS] + 0.5) * across - 0.5
            terms[0, _RPC_SCALES] *= across
            tags[_RPC] = _value(terms)
    except DAMAGE:
        return {}
    return tags


def _is_point(tags: Directory) -> bool:
    keys = np.frombuffer(tags[_KEYS].data, "<u2") if _KEYS in tags else np.zeros(0, "<u2")
    rows = keys[: len(keys) // 4 * 4].reshape(-1, 4)
    return any(row[0] == _RASTER_TYPE_KEY and row[3] == _PIXEL_IS_POINT for row in rows[1:].tolist())


def _doubles(tags: Directory, tag: int, columns: int) -> Numbers | None:
    if tag not in tags or tags[tag].kind != _DOUBLE or len(tags[tag].data) % (8 * columns):
        return None
    numbers: Numbers = np.frombuffer(tags[tag].data, "<f8").reshape(-1, columns).copy()
    return numbers


def _value(numbers: Numbers) -> Value:
    return Value(_DOUBLE, numbers.size, np.ascontiguousarray(numbers, "<f8").tobytes())
