"""resize.py against the images that MATLAB made, against the definition in fractions, and its laws."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adadsr.errors import InputError
from adadsr.resize import bicubic_downscale, bicubic_upscale, imresize

FACTORS = (2, 3, 4)


def modcrop(image, factor):
    return image[: image.shape[0] // factor * factor, : image.shape[1] // factor * factor]


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def noise(height, width, seed, low=0, high=256, channels=3):
    return np.random.default_rng(seed).integers(low, high, (height, width, channels), np.uint8)


def definition(line, scale):
    """One dimension of MATLAB's imresize on a list of 0..255, in exact fractions, rounded half up, clipped."""

    def cubic(t):
        t = abs(t)
        near, far = 3 * t**3 / 2 - 5 * t**2 / 2 + 1, -(t**3) / 2 + 5 * t**2 / 2 - 4 * t + 2
        return near if t <= 1 else far if t <= 2 else Fraction(0)

    size, shrink, result = len(line), min(scale, Fraction(1)), []
    for x in range(math.ceil(size * scale)):
        u = (x + Fraction(1, 2)) / scale - Fraction(1, 2)
        reach = 2 / shrink
        within = range(math.floor(u - reach), math.ceil(u + reach) + 1)
        taps = {i: cubic((i - u) * shrink) for i in within}
        value = sum(weight * (line + line[::-1])[i % (2 * size)] for i, weight in taps.items())
        result.append(min(max(math.floor(value / sum(taps.values()) + Fraction(1, 2)), 0), 255))
    return result


def by_definition(image, scale):
    for axis in (0, 1):
        image = np.apply_along_axis(lambda line: definition(line.tolist(), scale), axis, image)
    return image


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_equals_matlab_at_every_pixel(shared_data: Path, dataset, factor):
    paths = sorted((shared_data / "eval" / dataset / "HR").glob("*.png"))
    assert len(paths) == {"Set5": 5, "Set14": 14}[dataset]
    for path in paths:
        expected = read(path.parents[1] / "LR_bicubic" / f"X{factor}" / f"{path.stem}x{factor}.png")
        image = modcrop(read(path), factor)
        np.testing.assert_array_equal(bicubic_downscale(image, factor), expected, path.name)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from((2, 3, 4, 5, 8)), st.integers(0, 99))
def test_downscale_is_the_definition(height, width, factor, seed):
    image = noise(height, width, seed, channels=1)[..., 0]
    np.testing.assert_array_equal(bicubic_downscale(image, factor), by_definition(image, Fraction(1, factor)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from((2, 3, 4, 5)), st.integers(0, 99))
def test_upscale_is_the_definition(height, width, factor, seed):
    image = noise(height, width, seed, channels=1)[..., 0]
    np.testing.assert_array_equal(bicubic_upscale(image, factor), by_definition(image, Fraction(factor)))


def test_ties_round_up():
    """A step from 0 to 1 in the middle of an output pixel, whose exact value is then a half."""
    for factor, side in ((2, 9), (4, 18)):
        step = np.repeat([[0, 1]], side, axis=1).astype(np.uint8)
        middle = bicubic_downscale(step, factor)[0, side // factor]
        assert middle == 1


@pytest.mark.parametrize("factor", [2, 3, 16, 32, 256])
def test_large_sums_stay_exact(factor):
    """The widest swings of the weights: white where they are positive, and the other way round."""
    line = np.where(np.arange(8 * factor) // (2 * factor) % 2 == 0, 255, 0).astype(np.uint8)
    expected = definition(line.tolist(), Fraction(1, factor))
    np.testing.assert_array_equal(bicubic_downscale(line[None], factor)[0], expected)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from((1, 2, 3, 4)),
    st.integers(2, 9),
    st.integers(0, 99),
)
def test_channels_are_independent_and_sizes_are_matlab_s(height, width, channels, factor, seed):
    image = noise(height, width, seed, channels=channels)
    for resize, size in (
        (bicubic_downscale, (math.ceil(height / factor), math.ceil(width / factor))),
        (bicubic_upscale, (height * factor, width * factor)),
    ):
        result = resize(image, factor)
        assert result.dtype == np.uint8
        assert result.shape == (*size, channels)
        for channel in range(channels):
            np.testing.assert_array_equal(result[..., channel], resize(image[..., channel], factor))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255), st.sampled_from((2, 3, 4, 7)))
def test_a_constant_stays(height, width, gray, factor):
    image = np.full((height, width, 3), gray, np.uint8)
    assert (bicubic_downscale(image, factor) == gray).all()
    assert (bicubic_upscale(image, factor) == gray).all()
    for kernel in ("bicubic", "lanczos"):
        for scale in (factor, Fraction(1, factor), Fraction(3, factor)):
            result = imresize(image.astype(np.float64), scale, kernel=kernel)
            np.testing.assert_allclose(result, gray, rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 33), st.integers(1, 33), st.sampled_from((2, 0.5, 1 / 3, Fraction(5, 7), 1.7)),
    st.sampled_from(("bicubic", "lanczos")), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_float_version_is_linear(height, width, scale, kernel, antialias, seed):
    x, y = np.random.default_rng(seed).normal(size=(2, height, width, 3))

    def resize(image):
        return imresize(image, scale, kernel=kernel, antialias=antialias)

    ratio = Fraction(scale).limit_denominator(1000)
    result = resize(x)
    assert result.shape == (math.ceil(height * ratio), math.ceil(width * ratio), 3)
    np.testing.assert_allclose(resize(2 * x - 3 * y), 2 * result - 3 * resize(y), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(resize(x[..., 1]), result[..., 1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(FACTORS), st.booleans(), st.integers(0, 99))
def test_float_version_is_the_uint8_one_but_for_rounding(height, width, factor, grow, seed):
    """The two roundings err by half a level each; the second pass multiplies the first one's error by at most
    1.25, the largest sum of absolute weights. 64..191 keeps clear of clipping."""
    image = noise(height, width, seed, 64, 192)
    resized = bicubic_upscale(image, factor) if grow else bicubic_downscale(image, factor)
    plain = imresize(image.astype(np.float64), factor if grow else Fraction(1, factor))
    assert np.abs(plain - resized).max() <= 0.5 * 1.25 + 0.5 + 1e-9


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_each_dtype_is_as_exact_as_it_can_be(kernel, dtype):
    image = np.random.default_rng(0).random((31, 40, 3)).astype(dtype)
    for scale in (0.5, 3):
        exact = imresize(image.astype(np.float64), scale, kernel=kernel)
        result = imresize(image, scale, kernel=kernel)
        assert result.dtype == dtype
        assert result.flags.c_contiguous
        # one rounding to the dtype, and some 30 operations in float32
        bound = np.finfo(dtype).eps * 2 + 30 * np.finfo(np.float32).eps
        assert np.abs(result - exact).max() <= bound


def test_lanczos_is_pillow_s_inside():
    """Pillow's Lanczos-3 in float32 cuts the kernel at the border, so the border is left out."""
    image = np.random.default_rng(0).random((40, 60), np.float32)
    for scale in (2, Fraction(1, 2)):
        size = (int(60 * scale), int(40 * scale))
        expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        result = imresize(image, scale, kernel="lanczos")
        inside = np.s_[6:-6, 6:-6]
        np.testing.assert_allclose(result[inside], expected[inside], atol=1e-5)


def test_strided_input_is_left_alone():
    image = noise(31, 47, 0)
    view = image[::-1, ::2]
    before = image.copy()
    np.testing.assert_array_equal(bicubic_downscale(view, 2), bicubic_downscale(view.copy(), 2))
    floats = image.astype(np.float32)
    np.testing.assert_array_equal(imresize(floats[::-1, ::2], 2), imresize(floats[::-1, ::2].copy(), 2))
    np.testing.assert_array_equal(image, before)


IMAGE = np.zeros((4, 4, 3), np.uint8)
FLOATS = np.zeros((4, 4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bicubic_downscale(IMAGE.astype(np.float32), 2),
            "image of float32: pass a uint8 array, or use imresize for floats",
        ),
        (
            lambda: bicubic_upscale([[1]], 2),
            "image of list: pass a uint8 array, or use imresize for floats",
        ),
        (
            lambda: bicubic_downscale(IMAGE[:0], 2),
            "image of shape (0, 4, 3): pass a non-empty (H, W) or (H, W, C) array",
        ),
        (lambda: bicubic_upscale(IMAGE[0, 0], 2), "image of shape (3,): pass a non-empty (H, W) or (H, W, C) array"),
        (lambda: bicubic_downscale(IMAGE, 1), "factor 1: pass an integer from 2 to 256"),
        (lambda: bicubic_downscale(IMAGE, 0.5), "factor 0.5: pass an integer from 2 to 256"),
        (lambda: bicubic_upscale(IMAGE, 257), "factor 257: pass an integer from 2 to 256"),
        (lambda: imresize(IMAGE, 2), "image of uint8: pass a floating-point numpy array"),
        (lambda: imresize([[1.0]], 2), "image of list: pass a floating-point numpy array"),
        (lambda: imresize(FLOATS[0, 0], 2), "image of shape (3,): pass a non-empty (H, W) or (H, W, C) array"),
        (lambda: imresize(FLOATS[:, :0], 2), "image of shape (4, 0, 3): pass a non-empty (H, W) or (H, W, C) array"),
        (lambda: imresize(FLOATS, 2, kernel="nearest"), "kernel 'nearest': pass one of bicubic, lanczos"),
        *(
            (lambda scale=scale: imresize(FLOATS, scale), f"scale {scale!r}: pass a number from 1/1000 to 100")
            for scale in (0, -1, 101, math.nan, math.inf)
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
