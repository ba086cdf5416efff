"""Transparency -> a colour behind the picture."""

import re
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from adadsr.errors import InputError
from adadsr.images._picture import Picture
from adadsr.images._profiles import gray_to_srgb
from adadsr.images._vips import image_of

Color: TypeAlias = tuple[int, int, int]
"""Red, green and blue in 0..255."""

_NAMES = {  # CSS Color Level 4, the basic ones
    "aqua": "00ffff",
    "black": "000000",
    "blue": "0000ff",
    "fuchsia": "ff00ff",
    "gray": "808080",
    "green": "008000",
    "grey": "808080",
    "lime": "00ff00",
    "maroon": "800000",
    "navy": "000080",
    "olive": "808000",
    "orange": "ffa500",
    "purple": "800080",
    "red": "ff0000",
    "silver": "c0c0c0",
    "teal": "008080",
    "white": "ffffff",
    "yellow": "ffff00",
}
_HEX = re.compile(r"#?([0-9a-f]{6}|[0-9a-f]{3})")
_BAND_SAMPLES = 1 << 18  # converted at a time


def parse_color(text: str) -> Color:
    """The colour of a CSS name such as `white`, or of `#rrggbb` or `#rgb`. Raises InputError."""
    name = text.strip().lower()
    match = _HEX.fullmatch(_NAMES.get(name, name))
    if match is None:
        raise InputError(f"{text!r} is not a color; use #rrggbb or one of {', '.join(_NAMES)}")
    digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def flatten(picture: Picture, color: Color) -> Picture:
    """The picture over a colour, without alpha: sample * a + color * (1 - a), as browsers compute it.

    The colour is meant in the picture's own colour space. Gray becomes RGB if the colour is not gray. Returns a picture
    without alpha as it is.
    """
    if not picture.has_alpha:
        return picture
    if picture.is_gray and len(set(color)) > 1:
        picture = _colored(picture)
    source = picture.pixels
    height, width, channels = source.shape
    unit = float(np.iinfo(source.dtype).max)
    behind = np.array(color[: channels - 1], np.float32) * np.float32(unit / 255)
    pixels = np.empty((height, width, channels - 1), source.dtype)
    rows = max(1, _BAND_SAMPLES // (width * channels))
    for top in range(0, height, rows):
        band = source[top : top + rows].astype(np.float32)
        share = band[..., -1:] / np.float32(unit)
        pixels[top : top + rows] = np.rint(band[..., :-1] * share + behind * (1 - share))
    return replace(picture, pixels=pixels)


def _colored(picture: Picture) -> Picture:
    """Gray and alpha as RGBA."""
    if picture.icc_profile is None:
        return replace(picture, pixels=np.repeat(picture.pixels, (3, 1), axis=2))
    image = image_of(picture.pixels, "grey16" if picture.bits == 16 else "b-w")
    return replace(picture, pixels=gray_to_srgb(image, picture.icc_profile).numpy(), icc_profile=None)
