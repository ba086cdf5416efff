"""Code points of colour (ITU-T H.273), and ICC profiles that mean the same."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.images._iccprofile import Chromaticities, gray_profile, rgb_profile, srgb_curve

_SRGB = Chromaticities((0.3127, 0.329), (0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
PRIMARIES = {
    1: _SRGB,
    4: Chromaticities((0.31, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: Chromaticities((0.3127, 0.329), (0.64, 0.33), (0.29, 0.6), (0.15, 0.06)),
    6: Chromaticities((0.3127, 0.329), (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: Chromaticities((0.3127, 0.329), (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    8: Chromaticities((0.31, 0.316), (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: Chromaticities((0.3127, 0.329), (0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    11: Chromaticities((0.314, 0.351), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    12: Chromaticities((0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    22: Chromaticities((0.3127, 0.329), (0.63, 0.34), (0.295, 0.605), (0.155, 0.077)),
}
"""Colour primaries (H.273, table 2)."""
_UNSPECIFIED, _SRGB_CODES = 2, (1, 13)
_NEAR_SRGB = (1, 2, 6, 13, 14, 15)  # camera curves, which displays and browsers show as sRGB
_PQ, _HLG = 16, 18
_WHITE_OF_PQ = 203 / 10000  # diffuse white, ITU-R BT.2408
_WHITE_OF_HLG = 0.75  # signal of diffuse white
_CURVE_SAMPLES = 4096


class Cicp(NamedTuple):
    """Codes of primaries, transfer characteristics and matrix; whether samples use their full range."""

    primaries: int
    transfer: int
    matrix: int = 0
    full_range: int = 1

    @property
    def is_srgb(self) -> bool:
        """Whether the colours are sRGB's, or unspecified, which means the same."""
        return self.primaries in (1, _UNSPECIFIED) and self.transfer in _NEAR_SRGB and bool(self.full_range)


def profile_of(cicp: Cicp, gray: bool) -> bytes | None:
    """The ICC profile that shows the same colours; None if the codes are unknown or mean sRGB.

    A profile cannot say that samples use a narrow range.

    Diffuse white of PQ (203 cd/m2) and of HLG (a signal of 0.75) becomes the profile's white. What is brighter is
    clipped by programs that do not know the codes, which the profile states, too.
    """
    primaries = PRIMARIES.get(_SRGB_CODES[0] if cicp.primaries == _UNSPECIFIED else cicp.primaries)
    curve = _curve(cicp.transfer)
    if cicp.is_srgb or primaries is None or curve is None:
        return None
    name = f"H.273 {cicp.primaries}/{cicp.transfer}"
    if gray:
        return gray_profile(curve, name)
    return rgb_profile(primaries, curve, name, (cicp.primaries, cicp.transfer))


def _curve(transfer: int) -> float | npt.NDArray[np.float64] | None:
    """Light by signal, both 0..1: a power, or samples; None for unknown codes (H.273, table 3)."""
    powers = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
    if transfer in powers:
        return powers[transfer]
    signal = np.linspace(0, 1, _CURVE_SAMPLES)
    if transfer in _NEAR_SRGB:
        return srgb_curve()
    if transfer == _PQ:
        return np.clip(pq_to_light(signal) / _WHITE_OF_PQ, 0, 1)
    if transfer == _HLG:
        return np.clip(hlg_to_light(signal) / hlg_to_light(np.array(_WHITE_OF_HLG)), 0, 1)
    return None


def pq_to_light(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Luminance in units of 10000 cd/m2 (SMPTE ST 2084)."""
    root = np.maximum(signal, 0) ** (32 / 2523)
    light: npt.NDArray[np.float64] = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (
        8192 / 1305
    )
    return light


def hlg_to_light(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scene light, 0..1 (ITU-R BT.2100)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    light: npt.NDArray[np.float64] = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light
