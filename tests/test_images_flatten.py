"""Transparent pictures over a colour."""

import numpy as np
import pytest

from adadsr import images
from adadsr.errors import InputError


@pytest.mark.parametrize(
    ("text", "color"),
    [("white", (255, 255, 255)), ("Orange", (255, 165, 0)), ("#0a0B0c", (10, 11, 12)), ("f80", (255, 136, 0))],
)
def test_colors(text, color):
    assert images.parse_color(text) == color


@pytest.mark.parametrize("text", ["", "whitish", "#12345", "#gggggg", "1,2,3"])
def test_what_is_not_a_color(text):
    with pytest.raises(InputError, match="is not a color; use #rrggbb or one of"):
        images.parse_color(text)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_sample_weighs_as_much_as_its_alpha(dtype):
    top, unit = np.iinfo(dtype).max, np.iinfo(dtype).max // 255
    pixels = np.zeros((1, 3, 4), dtype)
    pixels[0, :, 0], pixels[0, :, 3] = 100 * unit, (0, 51 * unit, top)
    flat = images.flatten(images.picture_from_array(pixels), (200, 0, 255)).pixels
    assert flat[0].tolist() == [[200 * unit, 0, top], [180 * unit, 0, 204 * unit], [100 * unit, 0, 0]]


def test_gray_becomes_rgb_on_a_color_only():
    picture = images.picture_from_array(np.full((2, 2, 2), (10, 0), np.uint8))
    assert images.flatten(picture, (7, 7, 7)).pixels.tolist() == np.full((2, 2, 1), 7).tolist()
    assert images.flatten(picture, (7, 8, 9)).pixels[0, 0].tolist() == [7, 8, 9]
    opaque = images.picture_from_array(np.zeros((2, 2, 3), np.uint8))
    assert images.flatten(opaque, (7, 7, 7)) is opaque
