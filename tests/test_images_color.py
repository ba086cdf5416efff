"""Colour in forms other than ICC profiles, and premultiplied alpha."""

import io
import itertools
import struct
import subprocess
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from adadsr.images import Picture, _pngcolor, encode, read_image, write_image
from adadsr.images._cicp import PRIMARIES, Cicp, hlg_to_light, pq_to_light, profile_of
from adadsr.images._isoboxes import read_heif_facts
from file_tools import avif_codes, avifdec, tool
from image_samples import SRGB, exif_block, noise, smooth, xmp_packet

PIXELS = smooth(40, 64)
SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE_POINTS = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks, pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG", **options)
    content = file.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


def gama(gamma):
    return chunk(b"gAMA", struct.pack(">I", gamma))


def chrm(points):
    return chunk(b"cHRM", struct.pack(">8I", *points))


def srgb(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def shown(picture):
    """sRGB colours by Pillow's colour management."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc_profile))
    image = Image.fromarray(picture.pixels[..., 0] if picture.is_gray else picture.pixels)
    flags = ImageCms.Flags.NOOPTIMIZE
    shown = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), 1, "RGB", flags=flags)
    return np.asarray(shown).astype(float)


@pytest.mark.parametrize("gamma", [20000, 35000, 55556, 71429, 100000])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gamma_becomes_a_profile(gamma, channels):
    picture = read_image(png(gama(gamma), pixels=PIXELS[..., :channels]))
    assert picture.pixels.shape[2] == channels
    expected = srgb((picture.pixels / 255) ** (100000 / gamma))
    assert np.abs(shown(picture) - expected).max() <= 2


@pytest.mark.parametrize("points", [ADOBE_POINTS, (31000, 31600, 67000, 33000, 21000, 71000, 14000, 8000)])
@pytest.mark.parametrize("more", [(), (gama(45455),), (gama(55556),)])
def test_chromaticities_become_a_profile(points, more):
    picture = read_image(png(chrm(points), *more))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc_profile)).profile
    columns = [getattr(profile, f"{name}_colorant")[0] for name in ("red", "green", "blue")]
    to_d65 = np.linalg.inv(np.array(profile.chromatic_adaptation[0]))  # and to C
    for column, (x, y) in zip(columns, zip(points[2::2], points[3::2], strict=True), strict=True):
        stored = to_d65 @ column
        np.testing.assert_allclose(stored[:2] / stored.sum(), (x / 1e5, y / 1e5), atol=1e-3)
    white = np.full((1, 1, 3), 255, np.uint8)
    assert shown(Picture(white, picture.icc_profile)).min() >= 254


def test_what_is_srgb_needs_no_profile():
    for chunks in ((gama(45455),), (chrm(SRGB_POINTS),), (gama(45455), chrm(SRGB_POINTS)), (gama(45500),)):
        picture = read_image(png(*chunks))
        assert (picture.icc_profile, picture.extra.png_color) == (None, None)


def test_what_is_senseless_is_ignored():
    for points in ((0,) * 8, (31270, 32900) * 4, (31270, 32900, 1, 1, 2, 2, 3, 3), (2**31 - 1,) * 8):
        assert read_image(png(chrm(points))).icc_profile is None
    for gamma in (0, 1, 2**32 - 1):
        assert read_image(png(gama(gamma))).icc_profile is None


def test_the_order_of_precedence():
    cicp, other = chunk(b"cICP", bytes((12, 13, 0, 1))), (gama(100000), chrm(ADOBE_POINTS))
    assert read_image(png(chunk(b"sRGB", b"\0"), *other)).icc_profile is None
    picture = read_image(png(*other, icc_profile=SRGB))
    assert (picture.icc_profile, picture.extra.png_color) == (SRGB, None)
    picture = read_image(png(cicp, *other))
    assert (picture.extra.cicp, picture.extra.png_color) == (Cicp(12, 13, 0, 1), None)
    assert shown(Picture(np.array([[[255, 0, 0]]], np.uint8), picture.icc_profile))[0, 0, 1] == 0
    picture = read_image(png(cicp, icc_profile=SRGB))
    assert (picture.extra.cicp, picture.icc_profile) == (Cicp(12, 13, 0, 1), SRGB)


def test_gamma_stays_in_png_and_is_dropped_with_its_profile(tmp_path):
    from dataclasses import replace

    picture = read_image(png(gama(100000), chrm(ADOBE_POINTS)))
    content = encode(picture, "png")
    assert gama(100000) in content
    assert chrm(ADOBE_POINTS) in content
    assert b"gAMA" not in encode(replace(picture, icc_profile=SRGB), "png")
    assert b"gAMA" not in encode(read_image(encode(picture, "tiff")), "png")


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "avif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_picture_can_be_written_with_codes_and_gamma(suffix, channels):
    pixels = noise((8, 8, channels), np.uint16)
    if suffix == "jpg" and channels % 2 == 0:
        pixels[..., -1] = 65535
    for extra in (chunk(b"cICP", bytes((9, 16, 0, 1))), gama(100000)):
        content = encode(Picture(pixels), "png")
        picture = read_image(content[:33] + extra + content[33:])
        assert picture.icc_profile is not None
        assert read_image(encode(picture, suffix)).pixels.shape[:2] == (8, 8)


@pytest.mark.parametrize(("primaries", "transfer"), list(itertools.product([1, 5, 9, 12], [4, 8, 13, 16, 18])))
def test_codes_become_a_profile(primaries, transfer):
    profile = profile_of(Cicp(primaries, transfer), gray=False)
    if (primaries, transfer) == (1, 13):
        assert profile is None
        return
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    curve = {
        4: lambda v: v**2.2,
        8: lambda v: v,
        13: lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
        16: lambda v: pq_to_light(v) / 0.0203,
        18: lambda v: hlg_to_light(v) / hlg_to_light(np.array(0.75)),
    }[transfer]
    found = shown(Picture(levels.repeat(3, 2), profile))
    assert np.abs(found - srgb(curve(levels / 255))).max() <= 3
    gray = profile_of(Cicp(primaries, transfer), gray=True)
    assert np.abs(shown(Picture(levels, gray)) - found).max() <= 3


def test_the_curves_at_known_points():
    assert pq_to_light(np.array([0.0, 0.508078, 0.580689, 1.0])) == pytest.approx([0, 0.01, 0.0203, 1], abs=2e-5)
    assert hlg_to_light(np.array([0.0, 0.5, 0.75, 1.0])) == pytest.approx([0, 1 / 12, 0.265, 1], abs=1e-3)


def test_unknown_codes_are_carried_without_a_profile():
    picture = read_image(png(chunk(b"cICP", bytes((200, 99, 0, 1)))))
    assert picture.icc_profile is None
    assert chunk(b"cICP", bytes((200, 99, 0, 1))) in encode(picture, "png")


def test_all_primaries_are_possible():
    assert all(each.is_possible() for each in PRIMARIES.values())


@pytest.mark.parametrize("codes", [(9, 16, 9), (9, 18, 9), (12, 13, 6), (1, 16, 1), (5, 4, 5)])
def test_codes_of_avif(tmp_path, codes):
    primaries, transfer, matrix = codes
    content = imagecodecs.avif_encode(PIXELS, 95, primaries=primaries, transfer=transfer, matrix=matrix)
    picture = read_image(content)
    assert picture.extra.cicp == Cicp(*codes, 1)
    write_image(tmp_path / "a.avif", picture)
    assert avif_codes(tmp_path / "a.avif")[:2] == codes[:2]
    assert np.abs(avifdec(tmp_path / "a.avif", tmp_path) - picture.pixels).mean() < 2
    again = read_image(encode(picture, "png"))
    assert (again.extra.cicp[:2], again.icc_profile) == (codes[:2], picture.icc_profile)


def test_saturated_colours_keep_the_matrix_that_holds_them(tmp_path):
    """Blue of BT.2020 needs a negative green in the encoder's YCbCr."""
    pixels = np.zeros((16, 16, 3), np.uint16)
    pixels[..., 2] = 65535
    picture = read_image(png(chunk(b"cICP", bytes((9, 16, 0, 1)))))
    from dataclasses import replace

    write_image(tmp_path / "a.avif", replace(picture, pixels=pixels))
    assert avif_codes(tmp_path / "a.avif") == (9, 16, 6)
    assert np.abs(avifdec(tmp_path / "a.avif", tmp_path) - pixels / 257).max() < 3


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("quality", [60, 100])
def test_codes_are_written_beside_all_other_metadata(tmp_path, alpha, quality):
    pixels = noise((16, 24, 4 if alpha else 3))
    source = read_image(png(chunk(b"cICP", bytes((9, 16, 0, 1))), pixels=pixels))
    picture = Picture(pixels, source.icc_profile, exif_block(), xmp_packet(' dc:format="x"/>'), extra=source.extra)
    write_image(tmp_path / "a.avif", picture, quality=quality)
    assert avif_codes(tmp_path / "a.avif")[:2] == (9, 16)
    again = read_image(tmp_path / "a.avif")
    assert b'dc:format="x"' in again.xmp
    assert b"Maker" in again.exif
    with Image.open(tmp_path / "a.avif") as image:
        assert image.getexif()[0x010F] == "Maker"
        image.load()
    if quality == 100:
        found = avifdec(tmp_path / "a.avif", tmp_path)
        np.testing.assert_array_equal(np.rint(found), pixels)


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("yuv", ["444", "420"])
def test_premultiplied_alpha_of_avif(tmp_path, depth, yuv):
    color = smooth(64, 64) // 2 + 90
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    Image.fromarray(np.dstack([color, alpha])).save(tmp_path / "a.png")
    command = [
        tool("avifenc", "libavif-bin"),
        "--premultiply",
        "-d",
        str(depth),
        "-y",
        yuv,
        "--min",
        "0",
        "--max",
        "4",
    ]
    subprocess.run([*command, tmp_path / "a.png", tmp_path / "a.avif"], check=True, capture_output=True)
    assert read_heif_facts(io.BytesIO((tmp_path / "a.avif").read_bytes())).premultiplied
    picture = read_image(tmp_path / "a.avif")
    scale = 257 if picture.bits == 16 else 1
    visible = alpha >= 128
    assert np.abs(picture.pixels[..., :3] / scale - color)[visible].mean() < (2 if yuv == "444" else 5)
    assert np.abs(picture.pixels[..., 3] / scale - alpha).max() <= 2
    with_straight = read_image(encode(picture, "avif"))
    assert np.abs(with_straight.pixels[..., :3] / with_straight.pixels.max() * 255 - color)[visible].mean() < 6


def test_a_png_without_gamma_is_not_compared_with_every_gamma(monkeypatch: pytest.MonkeyPatch):
    """It was, which took 12 milliseconds of each PNG."""
    monkeypatch.setattr(_pngcolor, "_GAMMAS", range(10**12))
    assert read_image(encode(Picture(smooth(4, 4)), "png")).height == 4
