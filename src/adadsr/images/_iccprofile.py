"""ICC profiles from primaries and a curve (ICC.1:2022). Pillow and libvips make none but sRGB, Lab and XYZ."""

import struct
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Curve: TypeAlias = float | npt.NDArray[np.float64]
"""Light by signal, both 0..1: a power, or samples at equal steps."""
_Point: TypeAlias = tuple[float, float]
_D50 = np.array([0.9642, 1.0, 0.8249])
_CURVE_SAMPLES = 4096
_VERSION = 0x04400000
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Chromaticities(NamedTuple):
    """CIE x and y."""

    white: _Point
    red: _Point
    green: _Point
    blue: _Point

    def is_possible(self) -> bool:
        """Whether the three primaries are distinct, real and around the white."""
        corners = np.array([(x, y, 1 - x - y) for x, y in self[1:]]).T
        if min(y for _, y in self) <= 0 or abs(np.linalg.det(corners)) < 1e-4:
            return False
        return bool((np.linalg.solve(corners, _xyz(self.white)) > 0).all())


def srgb_curve() -> npt.NDArray[np.float64]:
    """Light by signal (IEC 61966-2-1)."""
    signal = np.linspace(0, 1, _CURVE_SAMPLES)
    light: npt.NDArray[np.float64] = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return light


def rgb_profile(primaries: Chromaticities, curve: Curve, name: str, cicp: tuple[int, int] | None = None) -> bytes:
    """A matrix profile. cicp: H.273 codes of primaries and transfer that mean the same."""
    corners = np.array([_xyz(point) for point in primaries[1:]]).T
    white = _xyz(primaries.white)
    adaptation = _adaptation(white)
    columns = adaptation @ (corners * np.linalg.solve(corners, white))
    tags = {b"wtpt": _numbers(_D50), b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel())}
    for letter, column in zip(b"rgb", columns.T, strict=True):
        tags[bytes((letter,)) + b"XYZ"] = _numbers(column)
        tags[bytes((letter,)) + b"TRC"] = _curve_tag(curve)
    if cicp is not None:
        tags[b"cicp"] = b"cicp\0\0\0\0" + bytes((*cicp, 0, 1))
    return _profile(b"RGB ", tags, name)


def gray_profile(curve: Curve, name: str) -> bytes:
    """A profile of one curve."""
    return _profile(b"GRAY", {b"wtpt": _numbers(_D50), b"kTRC": _curve_tag(curve)}, name)


def _profile(space: bytes, tags: dict[bytes, bytes], name: str) -> bytes:
    text = "No copyright, use freely"
    tags = {b"desc": _text(name), b"cprt": _text(text), **tags}
    start = 128 + 4 + 12 * len(tags)
    table, body, known = struct.pack(">I", len(tags)), b"", {}
    for tag, data in tags.items():
        if data not in known:
            known[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, known[data], len(data))
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), _VERSION, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    return head.ljust(128, b"\0") + table + body


def _curve_tag(curve: Curve) -> bytes:
    if isinstance(curve, float):
        return b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + _fixed(np.array([curve]))
    samples = np.rint(curve * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + samples


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(data), 28) + data


def _numbers(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _fixed(values: npt.NDArray[np.float64]) -> bytes:
    return np.rint(values * 65536).astype(">i4").tobytes()


def _xyz(point: _Point) -> npt.NDArray[np.float64]:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y]) if y else np.array([x, y, 1 - x - y])


def _adaptation(white: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bradford's, from a white to D50."""
    ratio = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation: npt.NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (ratio[:, None] * _BRADFORD)
    return adaptation
