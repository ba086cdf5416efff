"""metrics.py on real network outputs with known figures, and against two independent libraries."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from adadsr.errors import InputError
from adadsr.metrics import luma, psnr_rgb, psnr_y, ssim_y
from adadsr.resize import bicubic_downscale, bicubic_upscale, imresize

SET5 = ("baby", "bird", "butterfly", "head", "woman")


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def read_hr(data: Path, name, scale):
    image = read(data / "eval" / "Set5" / "HR" / f"{name}.png")
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def pair(height, width, seed, channels=3):
    """An image and a noisy copy of it."""
    generator = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    hr = generator.integers(0, 256, shape, np.uint8)
    sr = (hr + generator.normal(0, generator.uniform(1, 60), shape)).clip(0, 255).astype(np.uint8)
    return sr, hr


@pytest.mark.parametrize(("scale", "psnr", "ssim"), [(2, 38.274, 0.96144), (3, 34.742, 0.92989), (4, 32.634, 0.90024)])
def test_published_rcan_outputs(shared_data: Path, scale, psnr, ssim):
    folder = shared_data / "eval" / "Set5" / "SR_RCAN" / f"X{scale}"
    pairs = [(read(folder / f"{name}_RCAN_x{scale}.png"), read_hr(shared_data, name, scale)) for name in SET5]
    assert np.mean([psnr_y(sr, hr, scale) for sr, hr in pairs]) == pytest.approx(psnr, abs=0.001)
    assert np.mean([ssim_y(sr, hr, scale) for sr, hr in pairs]) == pytest.approx(ssim, abs=0.00001)


@pytest.mark.parametrize(("scale", "psnr", "ssim"), [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)])
def test_published_bicubic_baseline(shared_data: Path, scale, psnr, ssim):
    """The literature's row for Set5 has Y rounded first, and both resizings of Y in floating point."""
    rows = []
    for name in SET5:
        hr = (luma(read_hr(shared_data, name, scale)) + 0.5).astype(np.uint8)
        small = imresize(hr.astype(np.float64), 1 / scale)
        sr = (imresize(small, scale) + 0.5).clip(0, 255).astype(np.uint8)
        rows.append((psnr_y(sr, hr, scale), ssim_y(sr, hr, scale)))
    means = np.mean(rows, axis=0)
    assert means[0] == pytest.approx(psnr, abs=0.005)
    assert means[1] == pytest.approx(ssim, abs=0.00005)


@pytest.mark.parametrize(("scale", "psnr", "ssim"), [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)])
def test_bicubic_baseline_from_uint8_images(shared_data: Path, scale, psnr, ssim):
    """From the uint8 LR image that networks are given, as evaluation does: the same to 0.02 dB and 0.001."""
    rows = []
    for name in SET5:
        hr = read_hr(shared_data, name, scale)
        sr = bicubic_upscale(bicubic_downscale(hr, scale), scale)
        rows.append((psnr_y(sr, hr, scale), ssim_y(sr, hr, scale)))
    means = np.mean(rows, axis=0)
    assert means[0] == pytest.approx(psnr, abs=0.02)
    assert means[1] == pytest.approx(ssim, abs=0.001)


def test_luma_is_matlab_s():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luma(colours), [[16, 235, 81.481, 144.553, 40.966]], rtol=1e-14)
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(luma(gray), gray)
    assert luma(gray).dtype == np.float64


@settings(max_examples=25, deadline=None)
@given(st.integers(17, 150), st.integers(17, 150), st.integers(0, 3), st.sampled_from((0, 3)), st.integers(0, 99))
def test_against_scikit_image(height, width, shave, channels, seed):
    """Its map is of the image's size; from the sixth pixel on, the windows lie inside."""
    sr, hr = pair(height, width, seed, channels)
    inside = np.s_[shave : height - shave, shave : width - shave]
    _, similarity = structural_similarity(
        luma(sr)[inside], luma(hr)[inside], gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=255, full=True,
    )  # fmt: skip
    assert ssim_y(sr, hr, shave) == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(17, 100), st.integers(17, 100), st.integers(0, 3), st.sampled_from((0, 3)), st.integers(0, 99))
def test_against_torchmetrics(height, width, shave, channels, seed):
    sr, hr = pair(height, width, seed, channels)
    inside = np.s_[shave : height - shave, shave : width - shave]
    y = [torch.from_numpy(luma(image)[inside])[None, None] for image in (sr, hr)]
    rgb = [torch.from_numpy(image[inside].astype(np.float64)) for image in (sr, hr)]
    assert psnr_y(sr, hr, shave) == pytest.approx(peak_signal_noise_ratio(*y, data_range=255.0).item(), abs=1e-4)
    assert psnr_rgb(sr, hr, shave) == pytest.approx(peak_signal_noise_ratio(*rgb, data_range=255.0).item(), abs=1e-4)
    _, similarity = structural_similarity_index_measure(*y, sigma=1.5, data_range=255.0, return_full_image=True)
    assert ssim_y(sr, hr, shave) == pytest.approx(similarity[..., 5:-5, 5:-5].mean().item(), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(11, 90), st.integers(11, 90), st.integers(0, 99))
def test_equal_images_and_symmetry(height, width, seed):
    sr, hr = pair(height, width, seed)
    assert psnr_y(hr, hr, 0) == psnr_rgb(hr, hr, 0) == math.inf
    assert ssim_y(hr, hr, 0) == pytest.approx(1, abs=1e-12)
    for metric in (psnr_y, psnr_rgb, ssim_y):
        assert metric(sr, hr, 0) == metric(hr, sr, 0)
        assert isinstance(metric(sr, hr, 0), float)


def test_only_the_shaved_border_is_left_out():
    hr = np.zeros((20, 30, 3), np.uint8)
    sr = hr.copy()
    sr[:4] = sr[-4:] = sr[:, :4] = sr[:, -4:] = 9
    for metric, perfect in ((psnr_y, math.inf), (psnr_rgb, math.inf), (ssim_y, pytest.approx(1))):
        assert metric(sr, hr, 4) == perfect
        assert metric(sr, hr, 3) != perfect


def test_psnr_of_one_level():
    hr = np.full((9, 7, 3), 100, np.uint8)
    assert psnr_rgb(hr + 1, hr, 0) == pytest.approx(20 * math.log10(255))
    assert psnr_y(hr + 1, hr, 3) == pytest.approx(20 * math.log10(255 * 255 / 219))


IMAGE = np.zeros((12, 14, 3), np.uint8)
METRICS = (psnr_y, psnr_rgb, ssim_y)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("sr", "hr", "shave", "message"),
    [
        (
            IMAGE, IMAGE[:11], 0,
            "sr has shape (12, 14, 3), hr (11, 14, 3); they must be equal, so "
            "crop hr to a multiple of the scale",
        ),
        (
            IMAGE / 255, IMAGE, 0,
            "sr of float64: pass a uint8 array, rounded and clipped to 0..255",
        ),
        (
            IMAGE, torch.zeros(3), 0,
            "hr of torch.float32: pass a uint8 array, rounded and clipped to 0..255",
        ),
        (IMAGE[..., :2], IMAGE, 0, "sr of shape (12, 14, 2): pass a non-empty (H, W, 3) or (H, W) array"),
        (IMAGE, IMAGE[:0], 0, "hr of shape (0, 14, 3): pass a non-empty (H, W, 3) or (H, W) array"),
        (
            IMAGE, IMAGE, 6,
            "shave=6 does not fit a 14x12 image; pass an integer from 0 to 5",
        ),
        (
            IMAGE, IMAGE, -1,
            "shave=-1 does not fit a 14x12 image; pass an integer from 0 to 5",
        ),
        (
            IMAGE, IMAGE, 1.5,
            "shave=1.5 does not fit a 14x12 image; pass an integer from 0 to 5",
        ),
    ],
)  # fmt: skip
def test_bad_input(metric, sr, hr, shave, message):
    with pytest.raises(InputError) as caught:
        metric(sr, hr, shave)
    assert str(caught.value) == message


def test_images_smaller_than_the_window():
    with pytest.raises(InputError) as caught:
        ssim_y(IMAGE, IMAGE, 1)
    assert str(caught.value) == (
        "images are 12x10 after shaving 1 pixels, but SSIM needs 11x11; pass larger images or a smaller shave"
    )
