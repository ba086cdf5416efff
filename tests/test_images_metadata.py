"""Orientation, EXIF, XMP, profiles and CMYK in image files."""

import struct

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageOps

from adadsr.images import (
    Picture,
    picture_from_pil,
    read_image,
    write_image,
)
from adadsr.images._tiffmetadata import TiffMetadata, append_tiff_metadata
from image_samples import SRGB, SUFFIXES, exif_block, gray_profile, noise, smooth, xmp_packet


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth(40, 64)).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    picture = read_image(path)
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 3  # decoders differ in chroma upsampling
    write_image(again, picture)
    assert Image.open(again).getexif().get(0x0112, 1) == 1
    assert read_image(again).pixels.shape == picture.pixels.shape
    from_pil = picture_from_pil(Image.open(path))
    np.testing.assert_array_equal(from_pil.pixels, expected)


@pytest.mark.parametrize(
    "form", [' tiff:Orientation="6"/>', "><tiff:Orientation>6</tiff:Orientation></rdf:Description>"]
)
def test_orientation_in_xmp_follows_that_of_the_exif_and_is_left_alone_without(tmp_path, form):
    xmp = xmp_packet(form)
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", xmp=xmp)
    picture = read_image(tmp_path / "a.jpg")
    assert (picture.xmp, picture.width) == (xmp, 64)
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", xmp=xmp, exif=exif_block(orientation=6))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.width == 48
    assert b"Orientation" in picture.xmp
    assert b"6" not in picture.xmp.partition(b"tiff:Orientation")[2][:3]


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
def test_exif_is_carried_and_brought_up_to_date(tmp_path, source, target):
    first, second = tmp_path / f"a{source}", tmp_path / f"b{target}"
    write_image(first, Picture(smooth(), exif=exif_block(orientation=6, thumbnail=True)))
    if source == ".jpg":  # libvips never writes the thumbnail, so one file comes from elsewhere
        Image.fromarray(smooth()).save(first, exif=exif_block(thumbnail=True))
        assert "jpeg-thumbnail-data" in pyvips.Image.new_from_file(str(first)).get_fields()
    picture = read_image(first)
    large = Picture(smooth(96, 128), picture.icc_profile, picture.exif, picture.xmp, picture.dpi)
    write_image(second, large)
    exif = Image.open(second).getexif()
    assert (exif[0x010F], exif[0x8298], exif.get(0x0112, 1)) == ("Maker", "Someone", 1)
    detail = exif.get_ifd(0x8769)
    assert (detail[0xA002], detail[0xA003], detail[0x9286]) == (128, 96, b"ASCII\0\0\0hello")
    assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 1.5)
    fields = pyvips.Image.new_from_file(str(second)).get_fields()
    assert not [field for field in fields if "thumbnail" in field or "ifd1" in field]
    np.testing.assert_array_equal(read_image(second).pixels.shape, (96, 128, 3))


def test_exif_in_a_big_tiff(tmp_path):
    path = tmp_path / "a.tif"
    pyvips.Image.black(6, 4).copy(interpretation="b-w").tiffsave(str(path), bigtiff=True)
    with open(path, "r+b") as file:
        append_tiff_metadata(file, TiffMetadata(exif_block()), {}, None)
    picture = read_image(path)
    assert picture.pixels.shape == (4, 6, 1)
    write_image(tmp_path / "b.jpg", picture)
    exif = Image.open(tmp_path / "b.jpg").getexif()
    assert exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 1.5)


def test_profiles_that_do_not_fit_are_dropped(tmp_path):
    write_image(tmp_path / "a.png", Picture(smooth(), gray_profile(2.2)))
    assert read_image(tmp_path / "a.png").icc_profile is None
    write_image(tmp_path / "b.png", Picture(smooth(), b"not a profile"))
    assert read_image(tmp_path / "b.png").icc_profile is None
    write_image(tmp_path / "c.webp", Picture(smooth(), SRGB))
    assert read_image(tmp_path / "c.webp").icc_profile == SRGB


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_profiles_of_a_wrong_length(tmp_path, suffix):
    path, size = tmp_path / f"a{suffix}", len(SRGB)
    write_image(path, Picture(smooth(), SRGB + bytes(5)))
    assert read_image(path).icc_profile == SRGB
    odd = (size + 1).to_bytes(4, "big") + SRGB[4:] + b"\0"
    write_image(path, Picture(smooth(), odd))
    assert read_image(path).icc_profile == (size + 4).to_bytes(4, "big") + SRGB[4:] + bytes(4)
    write_image(path, Picture(smooth(), SRGB[:-9]))
    assert read_image(path).icc_profile is None


@pytest.mark.parametrize("channels", [1, 2])
def test_a_gray_profile_is_kept_or_applied(tmp_path, channels):
    profile = gray_profile(gamma=1.8)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    picture = Picture(np.concatenate([levels, levels[::-1]], 2)[..., :channels], profile)
    write_image(tmp_path / "a.png", picture)
    assert read_image(tmp_path / "a.png").icc_profile == profile
    write_image(tmp_path / "a.webp", picture, quality=100)
    converted = read_image(tmp_path / "a.webp")
    linear = (levels / 255) ** 1.8
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert converted.icc_profile is None
    assert np.abs(converted.pixels[..., :1] - 255 * srgb).max() < 2
    np.testing.assert_array_equal(converted.pixels[..., 1:], picture.pixels[..., 1:])


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_srgb(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    inks = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "cyan": (255, 0, 0, 0), "yellow": (0, 0, 255, 0)}
    stripes = np.repeat(np.array(list(inks.values()), np.uint8), 16, 0)[None].repeat(16, 0)
    Image.fromarray(stripes, "CMYK").save(path, **({"quality": 100} if suffix == ".jpg" else {}))
    picture = read_image(path)
    white, black, cyan, yellow = (picture.pixels[8, 8 + 16 * i].astype(int) for i in range(4))
    assert picture.pixels.shape == (16, 64, 3)
    assert picture.icc_profile is None
    assert white.min() >= 250
    assert black.max() <= 60
    assert cyan[0] < 60 < 120 < min(cyan[1:])
    assert yellow[2] < 60 < 200 < min(yellow[:2])
    in_memory = picture_from_pil(Image.open(path)).pixels.astype(int)
    assert np.abs(in_memory - picture.pixels).max() <= 2


def test_cmyk_goes_through_its_own_profile(tmp_path):
    """A profile all of whose tables hold one value makes every ink the same mid gray."""
    profile = bytearray(pyvips.Image.profile_load("cmyk"))
    (tags,) = struct.unpack(">I", profile[128:132])
    for at in range(132, 132 + 12 * tags, 12):
        tag, start, size = struct.unpack(">4sII", profile[at : at + 12])
        if tag.startswith(b"A2B"):
            profile[start + 52 : start + size] = b"\x80" * (size - 52)  # 52: header of a 16-bit table
    image = Image.fromarray(smooth(channels=4), "CMYK")
    image.save(tmp_path / "a.tif", icc_profile=bytes(profile))
    image.info["icc_profile"] = bytes(profile)
    for picture in (read_image(tmp_path / "a.tif"), picture_from_pil(image)):
        assert picture.icc_profile is None
        assert np.ptp(picture.pixels, (0, 1)).max() <= 1
        assert np.abs(picture.pixels.astype(int) - 120).max() <= 5


def test_cmyk_with_16_bits_and_alpha(tmp_path):
    path, alpha = tmp_path / "a.tif", noise((6, 5, 1), np.uint16)
    samples = np.concatenate([np.zeros((6, 5, 4), np.uint16), alpha], 2)
    image = pyvips.Image.new_from_memory(samples.data, 5, 6, 5, "ushort").copy(interpretation="cmyk")
    image.tiffsave(str(path))
    picture = read_image(path)
    assert picture.pixels.shape == (6, 5, 4)
    assert picture.bits == 16
    assert picture.pixels[..., :3].min() > 64000
    np.testing.assert_array_equal(picture.pixels[..., 3:], alpha)
