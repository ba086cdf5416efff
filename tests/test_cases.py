"""Files that went wrong (`../shared/cases`): what went in comes out, enlarged."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from adadsr import images
from adadsr.errors import ImageFileError
from adadsr.images import read_image, write_image
from file_tools import avif_codes, avifdec, exiftool, pillow

SCALE = 2


def enlarged(source, target, scale=SCALE, **options):
    """Write a file enlarged by repeating its pixels, so that colours stay comparable."""
    picture = read_image(source, **options)
    pixels = np.repeat(np.repeat(picture.pixels, scale, 0), scale, 1)
    picture = replace(picture, pixels=pixels)
    write_image(target, picture)
    return picture


def shown(path):
    """sRGB colours, 0..255, of a file as a viewer with colour management shows it, by its ICC profile."""
    image = pyvips.Image.new_from_file(str(path))
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, depth=16, intent="relative")
        return image.numpy().astype(np.float64) / 257
    pixels = image.numpy().astype(np.float64)
    return pixels / 257 if image.format == "ushort" else pixels


def srgb(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["tiled_zstd.tif", "tiff_strips_zstd.tif"])
def test_zstd(cases_dir, name):
    picture = read_image(cases_dir / name)
    assert picture.pixels.shape == (120, 160, 3)
    np.testing.assert_array_equal(picture.pixels, read_image(cases_dir / "geotiff.tif").pixels)


def test_truncated_tiles(cases_dir):
    with pytest.raises(ImageFileError, match="truncated or corrupt TIFF"):
        read_image(cases_dir / "tiled_truncated.tif")


def test_lab(cases_dir):
    pixels = read_image(cases_dir / "tiff_lab.tif").pixels.astype(int)
    assert np.abs(pixels - read_image(cases_dir / "geotiff.tif").pixels).mean() < 3


@pytest.mark.parametrize("name", ["jpeg_corrupt_middle.jpg", "jpeg_no_eoi.jpg"])
def test_damaged_jpegs(cases_dir, name):
    with pytest.raises(ImageFileError, match="truncated or corrupt JPEG"):
        read_image(cases_dir / name)
    assert read_image(cases_dir / name, accept_damaged=True).damage


def test_premultiplied(cases_dir, tmp_path):
    expected = avifdec(cases_dir / "premultiplied.avif", tmp_path)
    for suffix in ("avif", "png"):
        picture = enlarged(cases_dir / "premultiplied.avif", tmp_path / f"a.{suffix}")
        visible = expected[..., 3] > 32
        found = picture.pixels[::SCALE, ::SCALE, :3].astype(float)
        difference = np.abs(found - expected[..., :3])[visible]
        step = 255 / expected[..., 3:][visible]  # of colours that were stored multiplied by alpha, in 8 bits
        assert difference.mean() <= 1.5
        assert (difference / step).max() <= 1
    again = avifdec(tmp_path / "a.avif", tmp_path)[::SCALE, ::SCALE]
    assert np.abs(again - expected)[visible].mean() <= 3


@pytest.mark.parametrize("name", ["png_gamma_1.0_16bit.png", "png_chrm_adobe.png"])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "avif"])
def test_png_gamma_and_chromaticities(cases_dir, tmp_path, name, suffix):
    source = pyvips.Image.new_from_file(str(cases_dir / name)).numpy()
    light = (source / np.iinfo(source.dtype).max) ** (1.0 if "gamma" in name else 2.2)
    if "chrm" in name:
        light = light @ adobe_to_srgb().T
    enlarged(cases_dir / name, tmp_path / f"a.{suffix}")
    found = shown(tmp_path / f"a.{suffix}")[::SCALE, ::SCALE, :3]
    difference = np.abs(found - srgb(light))
    assert difference.mean() < {"png": 0.6, "tif": 0.6}.get(suffix, 4)
    if suffix == "png":
        tags, before = exiftool(tmp_path / "a.png"), exiftool(cases_dir / name)
        for tag in ("PNG:Gamma", "PNG:WhitePointX", "PNG:RedX", "PNG:GreenY"):
            assert tags.get(tag) == before.get(tag)


def adobe_to_srgb():
    """Linear Adobe RGB to linear sRGB: both have the white D65."""

    def matrix(points):
        columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in points]).T
        white = np.array([0.3127 / 0.329, 1, (1 - 0.3127 - 0.329) / 0.329])
        return columns * np.linalg.solve(columns, white)

    return np.linalg.inv(matrix([(0.64, 0.33), (0.3, 0.6), (0.15, 0.06)])) @ matrix(
        [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
    )


@pytest.mark.parametrize("source", ["png_cicp_pq.png", "pq_bt2020_10bit.avif"])
def test_cicp_is_carried(cases_dir, tmp_path, source):
    picture = enlarged(cases_dir / source, tmp_path / "a.png")
    tags = exiftool(tmp_path / "a.png")
    codes = ("ColorPrimaries", "TransferCharacteristics", "MatrixCoefficients", "VideoFullRangeFlag")
    assert [tags[f"PNG-cICP:{name}"] for name in codes] == [9, 16, 0, 1]
    np.testing.assert_array_equal(pyvips.Image.new_from_file(str(tmp_path / "a.png")).numpy(), picture.pixels)
    write_image(tmp_path / "a.avif", picture)
    assert avif_codes(tmp_path / "a.avif") == (9, 16, 9)
    assert np.abs(avifdec(tmp_path / "a.avif", tmp_path)[..., :3] - picture.pixels / 257).mean() < 2
    write_image(tmp_path / "b.avif", picture, quality=100)
    assert avif_codes(tmp_path / "b.avif") == (9, 16, 0)
    assert np.abs(avifdec(tmp_path / "b.avif", tmp_path)[..., :3] - picture.pixels / 257).max() < 0.1


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
def test_elsewhere_an_equivalent_profile_stands_for_cicp(cases_dir, tmp_path, suffix):
    source = pyvips.Image.new_from_file(str(cases_dir / "png_cicp_pq.png")).numpy() / 65535
    root = source ** (32 / 2523)
    light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305) * 10000 / 203
    to_srgb = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    enlarged(cases_dir / "png_cicp_pq.png", tmp_path / f"a.{suffix}")
    found = shown(tmp_path / f"a.{suffix}")[::SCALE, ::SCALE]
    assert np.abs(found - srgb(np.minimum(light, 1) @ to_srgb.T)).mean() < 5
    profile = pillow(tmp_path / f"a.{suffix}").info["icc_profile"]
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip() == "H.273 9/16"
    assert b"cicp\0\0\0\0\x09\x10\0\x01" in profile


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_iptc_xmp_exif(cases_dir, tmp_path, suffix):
    source = cases_dir / "iptc_xmp_exif.jpg"
    picture = enlarged(source, tmp_path / f"a.{suffix}")
    assert images.losses(tmp_path / f"a.{suffix}", picture) == ()
    before, after = exiftool(source), exiftool(tmp_path / f"a.{suffix}")
    if suffix == "tif":
        assert after["IFD0:XPComment"] == before.pop("File:Comment")
    own = ("File:", "System:", "ExifTool:", "SourceFile", "Composite:", "JFIF:", "IFD0:YCbCrPositioning")
    for tag, value in before.items():
        if not tag.startswith(own) or tag == "File:Comment":
            factor = SCALE if tag.endswith(("ImageWidth", "ImageHeight")) else 1
            assert after.get(tag) == (value * factor if factor > 1 else value), tag


def test_gain_map(cases_dir, tmp_path):
    picture = enlarged(cases_dir / "hdrgm_xmp_with_keywords.jpg", tmp_path / "a.jpg")
    tags = exiftool(tmp_path / "a.jpg")
    assert (tags["XMP-xmp:Rating"], tags["XMP-dc:Subject"]) == (5, ["family"])
    assert not [tag for tag in tags if "hdrgm" in tag]
    assert picture.notes == ("the HDR gain map was left out; the result is the picture without it",)


def test_png_text(cases_dir, tmp_path):
    enlarged(cases_dir / "png_text_parameters.png", tmp_path / "a.png")
    before, after = exiftool(cases_dir / "png_text_parameters.png"), exiftool(tmp_path / "a.png")
    for tag in ("PNG:Parameters", "PNG:Title", "PNG-pHYs:PixelsPerUnitX", "PNG-pHYs:PixelUnits"):
        assert after[tag] == before[tag]
    assert pillow(tmp_path / "a.png").text == pillow(cases_dir / "png_text_parameters.png").text


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_sizes_follow_the_picture(cases_dir, tmp_path, suffix):
    enlarged(cases_dir / "exif_ifd0_size.jpg", tmp_path / f"a.{suffix}")
    tags = exiftool(tmp_path / f"a.{suffix}")
    for tag in ("IFD0:ImageWidth", "ExifIFD:ExifImageWidth", "XMP-exif:ExifImageWidth", "XMP-tiff:ImageWidth"):
        assert tags[tag] == 320, tag
    assert (tags["IFD0:ImageHeight"], tags["ExifIFD:ExifImageHeight"]) == (240, 240)
    assert tags["ExifIFD:SubjectArea"] == "160 120 40 40"
    regions = tags["XMP-mwg-rs:RegionInfo"]
    assert (regions["AppliedToDimensions"]["W"], regions["AppliedToDimensions"]["H"]) == (320, 240)
    assert regions["RegionList"][0]["Area"]["X"] == 0.5


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png"])
def test_a_resolution_without_a_unit(cases_dir, tmp_path, suffix):
    content = (cases_dir / "tiff_resolution_unit_none.tif").read_bytes()
    first = struct.pack("<II", 300, 1)
    assert content.count(first) >= 1
    enlarged(content, tmp_path / f"a.{suffix}")
    tags = exiftool(tmp_path / f"a.{suffix}")
    found = {
        "tif": ("IFD0:ResolutionUnit", "IFD0:XResolution", "IFD0:YResolution", 1),
        "jpg": ("JFIF:ResolutionUnit", "JFIF:XResolution", "JFIF:YResolution", 0),
        "png": ("PNG-pHYs:PixelUnits", "PNG-pHYs:PixelsPerUnitX", "PNG-pHYs:PixelsPerUnitY", 0),
    }[suffix]
    assert tags[found[0]] == found[3]
    assert tags[found[1]] == tags[found[2]] == 300


def test_orientation_in_xmp_alone(cases_dir, tmp_path):
    enlarged(cases_dir / "xmp_orientation.png", tmp_path / "a.png")
    assert exiftool(tmp_path / "a.png")["XMP-tiff:Orientation"] == 3
    np.testing.assert_array_equal(
        read_image(cases_dir / "xmp_orientation.png").pixels, np.asarray(Image.open(cases_dir / "xmp_orientation.png"))
    )


def test_geotiff(cases_dir, tmp_path):
    enlarged(cases_dir / "geotiff.tif", tmp_path / "a.tif")
    before, after = exiftool(cases_dir / "geotiff.tif"), exiftool(tmp_path / "a.tif")
    assert (before["IFD0:PixelScale"], after["IFD0:PixelScale"]) == ("10 10 0", "5 5 0")
    assert after["IFD0:ModelTiePoint"] == before["IFD0:ModelTiePoint"]
    for tag, value in before.items():
        if tag.startswith("GeoTiff:"):
            assert after[tag] == value
    assert images.losses("a.png", read_image(cases_dir / "geotiff.tif")) == ("PNG cannot hold GeoTIFF tags",)
