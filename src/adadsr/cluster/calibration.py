"""By how much the predicted gains of each picture are too small or too large, from parts that were measured.

A loss is taken to follow the texture of a picture by a power law, fitted to all pictures with measured parts. Those
parts count the more against the law, the more of them a picture has.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

POWER, POWER_WEIGHT = 1.25, 50.0
"""Of the law before anything is measured, and how many parts that is worth."""
PRIOR_PARTS = 4.0
"""How many parts of its own count as much for a picture as the law."""
LEAST = 1e-3
"""Textures, losses and predictions are at least this, in squared levels, so that their logarithms are finite."""


@dataclass(frozen=True)
class Samples:
    """What the first pass knows of each picture; all (N,).

    Attributes:
        texture, parts, change: See `sampling.Sample`.
        predicted: Mean loss at the same budget by the adapter, in squared levels of Y.
        pixels: Of the output.
    """

    texture: Values
    parts: Values
    change: Values
    predicted: Values
    pixels: Values

    def factors(self) -> Values:
        """What to multiply predicted gains with, (N,).

        The predicted loss of all pictures together stays; without any measured part all factors are 1.
        """
        if not self.parts.any():
            return np.ones_like(self.predicted)
        texture, predicted = (np.maximum(each, LEAST) for each in (self.texture, self.predicted))
        x, own = np.log(texture), np.log(np.maximum(self.change * texture, LEAST))
        weight = self.parts / (self.parts + PRIOR_PARTS)
        lost = np.exp(weight * own + (1 - weight) * self._law(x, own))
        lost *= (self.pixels * predicted).sum() / (self.pixels * lost).sum()
        return np.asarray(lost / predicted)

    def _law(self, x: Values, y: Values) -> Values:
        """y as a line over x, both logarithms, fitted where there are parts; their number is the weight."""
        total = self.parts.sum()
        x_mean, y_mean = (float((self.parts * each).sum() / total) for each in (x, y))
        spread, together = (
            float((self.parts * (x - x_mean) * (each - mean)).sum() / total)
            for each, mean in ((x, x_mean), (y, y_mean))
        )
        prior = POWER_WEIGHT / total
        power = (together + prior * spread * POWER) / (spread * (1 + prior)) if spread else POWER
        return np.asarray(y_mean + power * (x - x_mean))
