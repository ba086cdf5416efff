"""Pictures as tensors: nothing is lost on the way, and no fringe appears at transparent edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional

from adadsr.errors import InputError
from adadsr.images import Picture, bleed_color, from_tensor, to_tensor

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16]).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_to_tensor_and_back_is_the_identity(pixels):
    picture = Picture(pixels, exif=b"e", dpi=(3.0, 4.0))
    color, alpha = to_tensor(picture)
    assert color.shape == (1, 3, picture.height, picture.width)
    assert color.dtype == torch.float32
    assert color.is_contiguous()
    assert (alpha is not None) == picture.has_alpha
    again = from_tensor(color, alpha, picture)
    assert again.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.exif, again.dpi) == (b"e", (3.0, 4.0))


def test_every_16_bit_level_survives_in_gray():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    planes = to_tensor(Picture(levels))
    torch.testing.assert_close(planes.color[0, 2].double(), torch.from_numpy(levels[..., 0] / 257), rtol=1e-7, atol=0)
    np.testing.assert_array_equal(from_tensor(*planes, Picture(levels)).pixels, levels)


def test_values_and_channel_order():
    color, alpha = to_tensor(Picture(np.array([[[0, 257, 65535, 32896]]], np.uint16)))
    assert color.flatten().tolist() == [0, 1, 255]
    assert alpha.flatten().tolist() == [128]


def test_rounding_and_clipping():
    like = Picture(np.zeros((1, 1, 3), np.uint8))
    color = torch.tensor([-3.0, 99.6, 300.0]).reshape(1, 3, 1, 1)
    assert from_tensor(color, None, like).pixels.tolist() == [[[0, 100, 255]]]


def test_the_result_has_the_size_of_the_tensor_and_the_kind_of_the_picture():
    like = Picture(np.zeros((2, 3, 2), np.uint16))
    picture = from_tensor(torch.full((1, 3, 4, 6), 10.0), torch.full((1, 1, 4, 6), 20.0), like)
    assert picture.pixels.shape == (4, 6, 2)
    assert picture.pixels[0, 0].tolist() == [2570, 5140]


def test_gray_is_the_mean_of_the_channels():
    like = Picture(np.zeros((1, 1, 1), np.uint8))
    color = torch.tensor([10.0, 20.0, 60.0]).reshape(1, 3, 1, 1)
    assert from_tensor(color, None, like).pixels.tolist() == [[[30]]]


def test_a_picture_larger_than_one_strip():
    pixels = np.random.default_rng(0).integers(0, 256, (2100, 2100, 4), np.uint8)
    picture = Picture(pixels)
    np.testing.assert_array_equal(from_tensor(*to_tensor(picture), picture).pixels, pixels)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("plane", [0, 1])
def test_nan_and_inf_are_refused(value, plane):
    planes = [torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)]
    planes[plane][0, 0, 1, 1] = value
    with pytest.raises(InputError, match="NaN or inf"):
        from_tensor(*planes, Picture(np.zeros((2, 2, 4), np.uint8)))


@pytest.mark.parametrize(
    ("color", "alpha"),
    [
        (torch.zeros(3, 2, 2), None),
        (torch.zeros(2, 3, 2, 2), None),
        (torch.zeros(1, 1, 2, 2), None),
        (torch.zeros(1, 3, 0, 2), None),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), None),
        (torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 3)),
        (torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)),
    ],
)
def test_planes_that_do_not_fit(color, alpha):
    with pytest.raises(InputError):
        from_tensor(color, alpha, Picture(np.zeros((2, 2, 3), np.uint8)))


def test_a_missing_alpha_is_refused():
    with pytest.raises(InputError, match="alpha has to follow"):
        from_tensor(torch.zeros(1, 3, 2, 2), None, Picture(np.zeros((2, 2, 4), np.uint8)))


# Colour under transparent pixels


def enlarged(plane, scale=2):
    return functional.interpolate(plane, scale_factor=scale, mode="bicubic").clamp(0, 255)


def disc(size):
    """A bright orange disc with a soft edge; black lies under the transparent pixels."""
    axis = torch.arange(size) - (size - 1) / 2
    radius = torch.hypot(axis[:, None], axis[None])
    alpha = ((size / 3 - radius).clamp(0, 1) * 255).round()[None, None]
    color = torch.tensor([240.0, 160.0, 40.0]).reshape(1, 3, 1, 1).expand(1, 3, size, size)
    return color * (alpha > 0), alpha


def fringe(color, alpha):
    """Largest error of the disc's colour that shows after enlarging, in 0..255."""
    truth = torch.tensor([240.0, 160.0, 40.0]).reshape(1, 3, 1, 1)
    return ((enlarged(color) - truth).abs() * enlarged(alpha) / 255).max().item()


@pytest.mark.parametrize("size", [16, 33, 50])
def test_no_fringes(size):
    color, alpha = disc(size)
    assert fringe(color, alpha) > 20  # the naive way
    assert fringe(bleed_color(color, alpha), alpha) < 1e-2


def test_bright_rubbish_does_not_show_either():
    color, alpha = disc(32)
    color = torch.where(alpha > 0, color, 255.0)
    assert fringe(color, alpha) > 20
    assert fringe(bleed_color(color, alpha), alpha) < 1e-2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_bleed_laws(height, width, seed):
    rng = np.random.default_rng(seed)
    color = torch.from_numpy(rng.uniform(0, 255, (2, 3, height, width)).astype(np.float32))
    alpha = torch.from_numpy(rng.choice([0, 0, 0, 1, 128, 255], (2, 1, height, width)).astype(np.float32))
    filled = bleed_color(color, alpha)
    visible = (alpha > 0).expand_as(color)
    assert torch.equal(filled[visible], color[visible])
    for one, seen, result in zip(color, visible, filled, strict=True):
        if not seen.any():
            continue
        low = torch.where(seen, one, torch.inf).amin((1, 2))
        high = torch.where(seen, one, -torch.inf).amax((1, 2))
        assert (result.amin((1, 2)) >= low - 1e-3).all()
        assert (result.amax((1, 2)) <= high + 1e-3).all()


def test_nearby_colours_win_over_distant_ones():
    color, alpha = torch.zeros(1, 3, 8, 64), torch.zeros(1, 1, 8, 64)
    color[..., :4], color[..., -4:] = 200.0, 50.0
    alpha[..., :4], alpha[..., -4:] = 255.0, 255.0
    filled = bleed_color(color, alpha)
    assert (filled[..., 4:8] == 200).all()
    assert (filled[..., -8:-4] == 50).all()


def test_wholly_hidden_and_wholly_visible_pictures_stay():
    color = torch.rand(1, 3, 5, 7) * 255
    assert torch.equal(bleed_color(color, torch.zeros(1, 1, 5, 7)), color)
    assert torch.equal(bleed_color(color, torch.ones(1, 1, 5, 7)), color)


def test_shapes_that_do_not_fit():
    with pytest.raises(InputError):
        bleed_color(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 5))
