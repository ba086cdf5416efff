"""Image files, arrays and Pillow images: what is read and written stays what it was."""

import os

import numpy as np
import pytest
import pyvips
from PIL import Image

from adadsr.formats import FORMATS
from adadsr.images import (
    SUPPORTED_SUFFIXES,
    Picture,
    is_image_file,
    picture_from_array,
    picture_from_pil,
    read_image,
    write_image,
)
from image_samples import SRGB, SUFFIXES, exif_block, noise, smooth

LOSSLESS = {row.suffixes[0]: {} for row in FORMATS if row.is_lossless}
LOSSLESS |= {row.suffixes[0]: {"quality": 100} for row in FORMATS if row.is_lossless_at_100}


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bits_survive_lossless_formats(tmp_path, suffix, channels):
    path = tmp_path / f"a{suffix}"
    pixels = noise((13, 17, channels))
    write_image(path, Picture(pixels), **LOSSLESS[suffix])
    picture = read_image(path)
    assert picture.bits == 8
    np.testing.assert_array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("suffix", [row.suffixes[-1] for row in FORMATS if row.bits == 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_survive_png_and_tiff(tmp_path, suffix, channels):
    path = tmp_path / f"a{suffix}"
    pixels = noise((13, 17, channels), np.uint16)
    write_image(path, Picture(pixels))
    picture = read_image(path)
    assert picture.bits == 16
    np.testing.assert_array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_rgba_with_profile_exif_and_resolution(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = Picture(noise((9, 7, 4), np.uint16), SRGB, exif_block(), b"<x:xmpmeta/>", (300.0, 150.0))
    write_image(path, picture)
    again = read_image(path)
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert again.icc_profile == SRGB
    assert again.xmp == b"<x:xmpmeta/>"
    assert again.dpi == pytest.approx((300, 150), rel=1e-3)
    assert Image.open(path).getexif()[0x010F] == "Maker"


def test_16_bits_are_rounded_to_the_nearest_where_a_format_holds_less(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, 2)
    write_image(tmp_path / "a.webp", Picture(ramp), quality=100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels[..., 0], np.rint(ramp[..., 0] / 257))
    write_image(tmp_path / "a.avif", Picture(ramp), quality=100)
    picture = read_image(tmp_path / "a.avif")
    assert picture.bits == 16
    expected = np.rint(np.rint(ramp[..., 0] / 65535 * 4095) / 4095 * 65535)
    np.testing.assert_array_equal(picture.pixels[..., 0], expected)


@pytest.mark.parametrize("suffix", [row.suffixes[0] for row in FORMATS if not row.is_lossless])
def test_lossy_formats_stay_close_and_quality_counts(tmp_path, suffix):
    path, pixels = tmp_path / f"a{suffix}", smooth()
    sizes = []
    for quality in (30, None):
        write_image(path, Picture(pixels), quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1]
    assert np.abs(read_image(path).pixels.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_gray_stays_gray(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(smooth(channels=1)))
    assert read_image(path).pixels.shape == (48, 64, 1)


def test_an_rgb_file_with_equal_channels_stays_rgb_where_the_format_has_gray(tmp_path):
    write_image(tmp_path / "a.png", Picture(smooth(channels=1).repeat(3, 2)))
    assert read_image(tmp_path / "a.png").pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_fewer_bits_become_8_bit_gray(tmp_path, bits, suffix):
    path = str(tmp_path / f"a{suffix}")
    levels = (np.arange(64).reshape(8, 8) % 2**bits * (255 // (2**bits - 1))).astype(np.uint8)
    image = pyvips.Image.new_from_array(levels).cast("uchar").copy(interpretation="b-w")
    image.write_to_file(path, bitdepth=bits)
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], levels)


def test_palettes(tmp_path):
    colors = Image.fromarray(smooth()).quantize(16)
    colors.save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png").pixels, np.asarray(colors.convert("RGB")))
    colors.save(tmp_path / "rgba.png", transparency=3)
    picture = read_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(picture.pixels[..., 3] == 0, np.asarray(colors) == 3)
    Image.fromarray(smooth(channels=1)[..., 0]).quantize(16).save(tmp_path / "gray.png")
    assert read_image(tmp_path / "gray.png").is_gray


def test_10_bit_avif_covers_the_full_range(tmp_path):
    path = str(tmp_path / "a.avif")
    levels = np.arange(1024, dtype=np.uint16).reshape(32, 32, 1).repeat(3, 2) << 6
    image = pyvips.Image.new_from_memory(levels.data, 32, 32, 3, "ushort").copy(interpretation="rgb16")
    image.heifsave(path, compression="av1", bitdepth=10, lossless=True)
    pixels = read_image(path).pixels
    np.testing.assert_array_equal(pixels[..., 0].ravel(), np.rint(np.arange(1024) / 1023 * 65535))


def test_names_with_other_scripts_and_brackets(tmp_path):
    for name in ("été 写真 🌄.png", "a[b=1].tif", os.fsdecode(b"bytes-\xff.webp"), "x" * 250 + ".png"):
        path = os.path.join(tmp_path, name)
        write_image(path, Picture(smooth()))
        assert read_image(path).pixels.shape == (48, 64, 3)


def test_a_file_that_changed_is_read_anew(tmp_path):
    for value in (1, 2):
        write_image(tmp_path / "a.png", Picture(np.full((4, 4, 1), value, np.uint8)))
        assert read_image(tmp_path / "a.png").pixels.max() == value


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_reading_keeps_no_descriptor_open(tmp_path):
    for suffix in SUFFIXES:
        write_image(tmp_path / f"a{suffix}", Picture(smooth()))
        read_image(tmp_path / f"a{suffix}")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        for suffix in SUFFIXES:
            write_image(tmp_path / f"a{suffix}", read_image(tmp_path / f"a{suffix}"))
    assert len(os.listdir("/proc/self/fd")) <= before


def test_suffixes(tmp_path):
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif"} <= set(SUPPORTED_SUFFIXES)
    write_image(tmp_path / "A.JPG", Picture(smooth()))
    assert is_image_file(tmp_path / "A.JPG")
    assert not is_image_file(tmp_path / "missing.jpg")
    assert not is_image_file(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert not is_image_file(tmp_path / "notes.txt")


def test_arrays():
    assert picture_from_array(noise((4, 5))).pixels.shape == (4, 5, 1)
    swapped = noise((4, 5, 3), np.uint16)
    np.testing.assert_array_equal(picture_from_array(swapped.astype(">u2")).pixels, swapped)
    pixels = noise((4, 5, 4))
    assert np.shares_memory(picture_from_array(pixels).pixels, pixels)
    assert picture_from_array(pixels[::2, ::-1]).pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("mode", "shape", "bits"),
    [
        ("1", 1, 8),
        ("L", 1, 8),
        ("LA", 2, 8),
        ("P", 3, 8),
        ("RGB", 3, 8),
        ("RGBA", 4, 8),
        ("CMYK", 3, 8),
        ("I;16", 1, 16),
        ("I", 1, 16),
        ("YCbCr", 3, 8),
        ("RGBa", 4, 8),
    ],
)
def test_pillow_images(mode, shape, bits):
    image = Image.fromarray(smooth())
    if mode == "I;16":
        image = Image.fromarray(noise((48, 64), np.uint16))
    elif mode == "RGBa":
        image = image.convert("RGBA").convert(mode)
    else:
        image = image.convert(mode)
    picture = picture_from_pil(image)
    assert picture.pixels.shape == (48, 64, shape)
    assert picture.bits == bits
    if mode in ("L", "LA", "RGB", "RGBA", "I;16"):
        np.testing.assert_array_equal(picture.pixels.squeeze(), np.asarray(image))


def test_pillow_metadata(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth()).save(path, exif=exif_block(), icc_profile=SRGB, dpi=(300, 300))
    picture = picture_from_pil(Image.open(path))
    assert (picture.icc_profile, picture.dpi) == (SRGB, (300.0, 300.0))
    write_image(tmp_path / "b.jpg", picture)
    assert Image.open(tmp_path / "b.jpg").getexif()[0x010F] == "Maker"
