"""How many pixels a picture has per inch or centimetre, or only their ratio."""

from typing import NamedTuple

_NONE, _INCH, _CENTIMETRE = 1, 2, 3
_CM_PER_INCH, _METRES_PER_INCH = 2.54, 0.0254


class Resolution(NamedTuple):
    """unit: as in TIFF and EXIF, 1 none, 2 inch, 3 centimetre. Without a unit only the ratio means something."""

    horizontal: float
    vertical: float
    unit: int

    @classmethod
    def of(cls, horizontal: float, vertical: float, unit: int) -> "Resolution | None":
        """None if the numbers say nothing: not positive, an unknown unit, or square pixels of no size (1 to 1)."""
        if not (0 < horizontal < 1e9 and 0 < vertical < 1e9 and _NONE <= unit <= _CENTIMETRE):
            return None
        return None if unit == _NONE and horizontal == vertical == 1 else cls(horizontal, vertical, unit)

    @classmethod
    def per_metre(cls, horizontal: float, vertical: float) -> "Resolution | None":
        """Of pixels per metre, to a tenth of a pixel per inch; None as for `of`."""
        return cls.of(round(horizontal * _METRES_PER_INCH, 1), round(vertical * _METRES_PER_INCH, 1), _INCH)

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Pixels per inch, if there is a unit."""
        if self.unit == _NONE:
            return None
        factor = 1 if self.unit == _INCH else _CM_PER_INCH
        return self.horizontal * factor, self.vertical * factor
