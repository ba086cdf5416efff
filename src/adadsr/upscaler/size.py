"""The size of an output: a factor, a side, or a number of pixels; and the networks that reach it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement

from adadsr.errors import InputError

LARGEST_SCALE = 64


@dataclass(frozen=True)
class Size:
    """The size that outputs get; the ratio of width and height stays.

    Attributes:
        scale: factor of width and height, 1..64.
        width, height: in pixels; together the box into which the output fits.
        long_side: of width and height, in pixels.
        megapixels: width times height, in 10^6.

    Raises:
        InputError: none is given, several that contradict each other, or one out of range.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    long_side: int | None = None
    megapixels: float | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1 and set(given) != {"width", "height"}:
            raise InputError(f"{_listed(given) or 'no size'}: pass one size, or a width with a height")
        for name, value in given.items():
            if name == "scale" and not 1 <= value <= LARGEST_SCALE:
                raise InputError(f"scale={value:g} is outside 1..{LARGEST_SCALE}")
            if not 0 < value < math.inf:
                raise InputError(f"{name}={value:g} must be a finite number above 0")

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input. Raises InputError if it would be smaller or much larger."""
        factor = self._factor(height, width)
        asked = f"{_listed(self._given())} for an image of {width}x{height}"
        if factor < 1:
            raise InputError(f"{asked}: it is larger already, and adadsr only enlarges; leave it out")
        if factor > LARGEST_SCALE:
            raise InputError(f"{asked}: more than {LARGEST_SCALE} times as large; choose a smaller size")
        sides = [max(1, math.floor(side * factor + 0.5)) for side in (height, width)]
        if self.width is not None and factor == self.width / width:
            sides[1] = self.width
        if self.height is not None and factor == self.height / height:
            sides[0] = self.height
        return sides[0], sides[1]

    def _given(self) -> dict[str, float]:
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    def _factor(self, height: int, width: int) -> float:
        if self.scale is not None:
            return self.scale
        if self.long_side is not None:
            return self.long_side / max(height, width)
        if self.megapixels is not None:
            return math.sqrt(self.megapixels * 1e6 / (height * width))
        factors = [None if side is None else side / old for side, old in ((self.width, width), (self.height, height))]
        return min(factor for factor in factors if factor is not None)


def _listed(given: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.12g}" for name, value in given.items())


def best_chain(scales: Sequence[int], before: tuple[int, int], after: tuple[int, int]) -> tuple[int, ...]:
    """Scales of the networks that lead from a size to at least another one, (height, width).

    The smallest product that is large enough, so that the reduction discards least; of equal ones the fewest networks;
    the smallest scale first, which costs least. Raises InputError if there is none.
    """
    factor = max(new / old for old, new in zip(before, after, strict=True))
    if max(scales) == 1:
        if factor > 1:
            raise InputError("the model restores images at their size, x1; pass --model with one that enlarges them")
        return (1,)
    most = math.ceil(math.log(max(factor, 2), min(scales))) + 1
    chains = [chain for number in range(1, most + 1) for chain in combinations_with_replacement(sorted(scales), number)]
    enough = [
        chain for chain in chains if all(old * math.prod(chain) >= new for old, new in zip(before, after, strict=True))
    ]
    return min(enough, key=lambda chain: (math.prod(chain), len(chain)))
