"""gAMA and cHRM of a PNG, and the ICC profile that means the same (PNG, third edition, 11.3.2)."""

from typing import NamedTuple

from adadsr.images._iccprofile import Chromaticities, Curve, gray_profile, rgb_profile, srgb_curve
from adadsr.images._pngchunks import PngFacts, chunk

_UNIT = 100000
_SRGB_GAMMA, _GAMMA_TOLERANCE = 45455, 500
_SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_TOLERANCE = 200
_GAMMAS = range(10000, 1000000)  # powers 0.1 to 10


class PngColor(NamedTuple):
    """As stored: gamma of the samples and eight chromaticities, in 1/100000."""

    gamma: int | None
    chromaticities: tuple[int, ...] | None

    @classmethod
    def of(cls, facts: PngFacts) -> "PngColor | None":
        """None if a profile, cICP or sRGB chunk overrides it, or if it is that of sRGB or impossible."""
        if facts.cicp is not None or facts.has_profile or facts.is_srgb:
            return None
        # None in a range would look at every number of it.
        gamma = facts.gamma if facts.gamma is not None and facts.gamma in _GAMMAS else None
        points = facts.chromaticities
        if points is not None and not _points(points).is_possible():
            points = None
        is_srgb = gamma is None or abs(gamma - _SRGB_GAMMA) <= _GAMMA_TOLERANCE
        is_srgb &= points is None or max(abs(a - b) for a, b in zip(points, _SRGB, strict=True)) <= _TOLERANCE
        return None if is_srgb else cls(gamma, points)

    def profile(self, gray: bool) -> bytes:
        """The equivalent profile; without a gamma its curve is that of sRGB, as in browsers."""
        curve: Curve = srgb_curve() if self.gamma is None else _UNIT / self.gamma
        name = "PNG without gamma" if self.gamma is None else f"PNG gamma {self.gamma / _UNIT:.5g}"
        if gray:
            return gray_profile(curve, name)
        return rgb_profile(_points(self.chromaticities or _SRGB), curve, name)

    def chunks(self) -> list[bytes]:
        """As in the file that was read."""
        found = [] if self.gamma is None else [chunk(b"gAMA", self.gamma.to_bytes(4, "big"))]
        if self.chromaticities is not None:
            found.append(chunk(b"cHRM", b"".join(number.to_bytes(4, "big") for number in self.chromaticities)))
        return found


def _points(numbers: tuple[int, ...]) -> Chromaticities:
    pairs = [(x / _UNIT, y / _UNIT) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    return Chromaticities(*pairs)
