"""LR images as photos come: compressed as JPEG, with slight noise and blur. Imports only NumPy and Pillow.

`Degradation` is one step of a known strength, for evaluation. `degrade_as_photo` draws steps at random, for training.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError

Pixels = npt.NDArray[np.uint8]

MCU = 16
"""Side in pixels of what a JPEG with subsampled chroma codes as a unit."""
TWICE_SHARE = 0.2
"""Of the photos that `degrade_as_photo` compresses, those that were compressed before, as after an edit."""
BLURRED_SHARE, NOISY_SHARE, COMPRESSED_SHARE = 0.1, 0.15, 0.95
"""Shares of photos that get each step of `degrade_as_photo`."""
MOST_BLUR, MOST_NOISE = 0.5, 3.0
"""Standard deviations: of the blur in LR pixels, of the noise in levels of 0..255."""
LEAST_QUALITY, BEST_QUALITY = 30, 100
"""Range of the JPEG qualities of `degrade_as_photo`, both included."""


@dataclass(frozen=True)
class Degradation:
    """One step of a known strength. Raises InputError for an unknown kind or a strength out of range.

    kind: jpeg (strength: quality, 1 to 100; chroma at half size, as cameras write it), noise (standard deviation of
    Gaussian noise in levels of 0..255, up to 100), or blur (standard deviation of a Gaussian in pixels, up to 10).
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in RANGES:
            raise InputError(f"degrade={self.kind!r} is not one of {', '.join(RANGES)}, such as jpeg:75")
        low, high = RANGES[self.kind]
        if not low <= self.strength <= high or (self.kind == "jpeg" and self.strength != int(self.strength)):
            whole = "a whole number" if self.kind == "jpeg" else "a number"
            raise InputError(f"degrade={self}: the strength is not {whole} from {low:g} to {high:g}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:g}"

    @classmethod
    def parse(cls, text: str) -> "Degradation":
        """From KIND:STRENGTH, such as jpeg:75. Raises InputError for anything else."""
        kind, separator, strength = text.partition(":")
        try:
            value = float(strength if separator else "")
        except ValueError:
            raise InputError(f"degrade={text!r} is not KIND:STRENGTH, such as jpeg:75 or noise:5") from None
        return cls(kind, value)


RANGES = {"jpeg": (1.0, 100.0), "noise": (0.0, 100.0), "blur": (0.0, 10.0)}
"""Kind -> its least and its largest strength."""


def degrade(image: Pixels, steps: Iterable[Degradation], seed: int = 0) -> Pixels:
    """An RGB image (H, W, 3), uint8, after these steps in order. seed: of the noise."""
    random = np.random.default_rng(seed)
    for step in steps:
        if step.kind == "jpeg":
            image = compress(image, int(step.strength), half_chroma=True)
        elif step.kind == "noise":
            image = add_noise(image, step.strength, random)
        else:
            image = blur(image, step.strength)
    return image


def degrade_as_photo(image: Pixels, random: np.random.Generator) -> Pixels:
    """An RGB image (H, W, 3), uint8, as one of the photos that people have: perhaps blurred, noisy, compressed twice.

    JPEG quality and chroma sampling are random, and so is where its blocks begin.
    """
    chances = random.random(4)
    if chances[0] < BLURRED_SHARE:
        image = blur(image, float(random.uniform(0.2, MOST_BLUR)))
    if chances[1] < NOISY_SHARE:
        image = add_noise(image, float(random.uniform(0.5, MOST_NOISE)), random)
    if chances[2] < COMPRESSED_SHARE:
        for _ in range(2 if chances[3] < TWICE_SHARE else 1):
            quality = int(random.integers(LEAST_QUALITY, BEST_QUALITY + 1))
            top, left = random.integers(0, MCU, 2)
            image = compress(image, quality, half_chroma=bool(random.integers(2)), top=int(top), left=int(left))
    return image


def compress(image: Pixels, quality: int, *, half_chroma: bool, top: int = 0, left: int = 0) -> Pixels:
    """An RGB image (H, W, 3), uint8, written as JPEG and read again.

    half_chroma: chroma at half width and height (4:2:0), else at full size (4:4:4). top, left: pixels by which the
    JPEG's blocks begin before the image, which is continued by reflection there.
    """
    from PIL import Image

    height, width = image.shape[:2]
    padded = np.pad(image, ((top, 0), (left, 0), (0, 0)), mode="symmetric") if top or left else image
    file = io.BytesIO()
    Image.fromarray(padded).save(file, "JPEG", quality=quality, subsampling="4:2:0" if half_chroma else "4:4:4")
    with Image.open(file) as compressed:
        whole: Pixels = np.asarray(compressed)
        return whole[top : top + height, left : left + width]


def add_noise(image: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """An image, uint8, with Gaussian noise, independent for each sample. deviation: in levels."""
    noisy = image + random.normal(0.0, 1.0, image.shape).astype(np.float32) * np.float32(deviation)
    return _rounded(noisy)


def blur(image: Pixels, deviation: float) -> Pixels:
    """An image (H, W, C), uint8, blurred by a Gaussian and continued by reflection. deviation: in pixels."""
    if not deviation:
        return image
    reach = max(1, round(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2).astype(np.float32)
    weights /= weights.sum()
    blurred = image.astype(np.float32)
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (reach, reach)
        padded = np.pad(blurred, pad, mode="symmetric")
        size = image.shape[axis]
        parts = (np.take(padded, range(start, start + size), axis=axis) for start in range(len(weights)))
        blurred = sum((weight * part for weight, part in zip(weights, parts, strict=True)), np.zeros_like(blurred))
    return _rounded(blurred)


def _rounded(image: npt.NDArray[np.float32]) -> Pixels:
    """Levels as 8 bits."""
    rounded: Pixels = np.rint(image.clip(0, 255)).astype(np.uint8)
    return rounded
