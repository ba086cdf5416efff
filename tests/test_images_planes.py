"""Pictures as planes of floats: nothing is lost on the way, and no fringe appears at transparent edges."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adadsr.errors import InputError
from adadsr.images import Picture, bleed_color, from_planes, quantize, to_planes
from adadsr.resize import imresize

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))


def floats(height, width, channels=3, value=0.0):
    return np.full((height, width, channels) if channels else (height, width), value, np.float32)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16]).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_to_planes_and_back_is_the_identity(pixels):
    picture = Picture(pixels, exif=b"e", dpi=(3.0, 4.0))
    color, alpha = to_planes(picture)
    assert color.shape == (picture.height, picture.width, 3)
    assert color.dtype == np.float32
    assert color.flags.c_contiguous
    assert (alpha is not None) == picture.has_alpha
    again = from_planes(color, alpha, picture)
    assert again.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.exif, again.dpi) == (b"e", (3.0, 4.0))


def test_every_16_bit_level_survives_in_gray():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    planes = to_planes(Picture(levels))
    np.testing.assert_allclose(planes.color[..., 2], levels[..., 0] / 257, rtol=1e-7, atol=0)
    np.testing.assert_array_equal(from_planes(*planes, Picture(levels)).pixels, levels)


def test_values_and_channel_order():
    color, alpha = to_planes(Picture(np.array([[[0, 257, 65535, 32896]]], np.uint16)))
    assert color.ravel().tolist() == [0, 1, 255]
    assert alpha.ravel().tolist() == [128]


def test_rounding_and_clipping():
    like = Picture(np.zeros((1, 3, 3), np.uint8))
    color = np.array([[[-3.0, 99.6, 300.0], [0.5, 1.5, 2.5], [254.5, 255.5, -0.5]]], np.float32)
    assert from_planes(color, None, like).pixels.tolist() == [[[0, 100, 255], [0, 2, 2], [254, 255, 0]]]


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**31))
def test_each_sample_is_the_nearest(shape, dtype, seed):
    """By the definition: clipped, and rounded half to even, whatever the strides of the input."""
    height, width, channels = shape
    color = np.random.default_rng(seed).uniform(-20, 280, (3, height, width)).astype(np.float32).transpose(1, 2, 0)
    alpha = color[..., 1] if channels % 2 == 0 else None
    shown = color if channels > 2 else color.sum(2, keepdims=True) / np.float32(3)
    wanted = shown if alpha is None else np.concatenate([shown, alpha[..., None]], axis=2)
    step = np.float32(1 if dtype is np.uint8 else 257)
    expected = np.clip(np.rint(wanted * step), 0, np.iinfo(dtype).max)
    picture = from_planes(color, alpha, Picture(np.zeros((1, 1, channels), dtype)))
    np.testing.assert_array_equal(picture.pixels, expected)


def test_the_result_has_the_size_of_the_planes_and_the_kind_of_the_picture():
    like = Picture(np.zeros((2, 3, 2), np.uint16))
    picture = from_planes(floats(4, 6, value=10), floats(4, 6, 0, value=20), like)
    assert picture.pixels.shape == (4, 6, 2)
    assert picture.pixels[0, 0].tolist() == [2570, 5140]


def test_gray_is_the_mean_of_the_channels():
    like = Picture(np.zeros((1, 1, 1), np.uint8))
    assert from_planes(np.array([[[10, 20, 60]]], np.float32), None, like).pixels.tolist() == [[[30]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_rounded_to_float32_first(dtype):
    color = np.full((2, 2, 3), 0.1, dtype)
    assert from_planes(color, None, Picture(np.zeros((1, 1, 3), np.uint16))).pixels.max() == 26


def test_parts_of_a_picture_are_written_in_place():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 4), np.uint8)
    color, alpha = to_planes(Picture(pixels))
    whole = np.zeros_like(pixels)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        for columns in (slice(0, 33), slice(33, 40)):
            quantize(color[rows, columns], alpha[rows, columns], out=whole[rows, columns])
    np.testing.assert_array_equal(whole, pixels)


def test_a_large_picture_is_converted_without_a_second_float_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (2100, 2100, 4), np.uint8)
    picture = Picture(pixels)
    color, alpha = to_planes(picture)
    tracemalloc.start()
    try:
        again = from_planes(color, alpha, picture)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(again.pixels, pixels)
    assert peak < pixels.nbytes + 4 * 2**20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("plane", [0, 1])
def test_nan_and_inf_are_refused(value, plane):
    planes = [floats(2, 2), floats(2, 2, 0)]
    planes[plane][1, 1] = value
    with pytest.raises(InputError, match="NaN or inf"):
        from_planes(*planes, Picture(np.zeros((2, 2, 4), np.uint8)))


@pytest.mark.parametrize(
    ("color", "alpha", "message"),
    [
        (floats(2, 3, 0), None, "colour has shape (2, 3); pass (height, width, 3)"),
        (floats(2, 3, 1), None, "colour has shape (2, 3, 1); pass (height, width, 3)"),
        (floats(0, 3), None, "colour has shape (0, 3, 3); pass (height, width, 3)"),
        (
            floats(2, 3).astype(np.uint8), None,
            "expected floating-point planes in 0..255, got uint8",
        ),
        (
            floats(2, 3), floats(2, 3, 0),
            "got alpha for a picture without alpha; pass alpha only if the picture has it",
        ),
    ],
)  # fmt: skip
def test_planes_that_do_not_fit(color, alpha, message):
    with pytest.raises(InputError) as caught:
        from_planes(color, alpha, Picture(np.zeros((2, 2, 3), np.uint8)))
    assert str(caught.value) == message


def test_alpha_and_pixels_that_do_not_fit():
    transparent = Picture(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(InputError, match="got no alpha for a picture with alpha; pass alpha only if"):
        from_planes(floats(2, 2), None, transparent)
    with pytest.raises(InputError, match=r"alpha has shape \(2, 3\); pass \(2, 2\)"):
        from_planes(floats(2, 2), floats(2, 3, 0), transparent)
    with pytest.raises(InputError, match="heights and widths must be equal"):
        quantize(floats(2, 3), None, out=np.zeros((2, 2, 3), np.uint8))


# Colour under transparent pixels


def enlarged(plane):
    return imresize(plane, 2).clip(0, 255)


def disc(size):
    """A bright orange disc with a soft edge; black lies under the transparent pixels."""
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    radius = np.hypot(axis[:, None], axis[None])
    alpha = ((size / 3 - radius).clip(0, 1) * 255).round().astype(np.float32)
    return np.array([240, 160, 40], np.float32) * (alpha > 0)[..., None], alpha


def fringe(color, alpha):
    """Largest error of the disc's colour that shows after enlarging, in 0..255."""
    error = np.abs(enlarged(color) - np.array([240, 160, 40]))
    return float((error * enlarged(alpha)[..., None] / 255).max())


@pytest.mark.parametrize("size", [16, 33, 50])
def test_no_fringes(size):
    color, alpha = disc(size)
    assert fringe(color, alpha) > 20  # the naive way
    assert fringe(bleed_color(color, alpha), alpha) < 1e-2


def test_bright_rubbish_does_not_show_either():
    color, alpha = disc(32)
    color[alpha == 0] = 255
    assert fringe(color, alpha) > 20
    assert fringe(bleed_color(color, alpha), alpha) < 1e-2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_bleed_laws(height, width, seed):
    rng = np.random.default_rng(seed)
    color = rng.uniform(0, 255, (height, width, 3)).astype(np.float32)
    alpha = rng.choice([0, 0, 0, 1, 128, 255], (height, width)).astype(np.float32)
    before = color.copy()
    filled = bleed_color(color, alpha)
    np.testing.assert_array_equal(color, before)
    visible = alpha > 0
    np.testing.assert_array_equal(filled[visible], color[visible])
    if visible.any():
        assert (filled.min((0, 1)) >= color[visible].min(0) - 1e-3).all()
        assert (filled.max((0, 1)) <= color[visible].max(0) + 1e-3).all()


def test_nearby_colours_win_over_distant_ones():
    color, alpha = floats(8, 64), floats(8, 64, 0)
    color[:, :4], color[:, -4:] = 200, 50
    alpha[:, :4], alpha[:, -4:] = 255, 255
    filled = bleed_color(color, alpha)
    assert (filled[:, 4:8] == 200).all()
    assert (filled[:, -8:-4] == 50).all()


def test_wholly_hidden_and_wholly_visible_pictures_stay():
    color = np.random.default_rng(0).uniform(0, 255, (5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(bleed_color(color, floats(5, 7, 0)), color)
    np.testing.assert_array_equal(bleed_color(color, floats(5, 7, 0, value=1)), color)


@pytest.mark.parametrize("shapes", [((4, 4, 3), (4, 5)), ((4, 4), (4, 4)), ((4, 4, 1), (4, 4))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(InputError, match=r"colour has shape .*; pass \(height, width, 3\) and \(height, width\)"):
        bleed_color(*(np.zeros(shape, np.float32) for shape in shapes))
