"""What a file contains and a picture does not is named, not dropped silently."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from adadsr.images import Picture, encode, picture_from_pil, read_image
from adadsr.images._isoboxes import AUXILIARY_NOTE, read_heif_facts
from adadsr.images._profiles import LOST_PROFILE
from adadsr.images._xmp import GAIN_MAP_NOTE
from image_samples import SRGB, exif_block, smooth

ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"


@pytest.mark.parametrize(
    ("name", "note"),
    [
        (ALPHA.replace(b"alpha", b"depth"), AUXILIARY_NOTE),
        (b"urn:com:apple:photo:2018:aux:portraiteffectsmatte", AUXILIARY_NOTE),
        (b"urn:com:apple:photo:2020:aux:hdrgainmap", GAIN_MAP_NOTE),
        (ALPHA, None),
    ],
)
def test_what_else_an_avif_contains_is_named(name, note):
    content = encode(Picture(smooth(8, 8, 4)), "avif")
    assert content.count(ALPHA) == 1
    content = content.replace(ALPHA, name[: len(ALPHA)].ljust(len(ALPHA), b"\0"))
    assert read_image(content).notes == (() if note is None else (note,))


@pytest.mark.parametrize("version", [2, 3])
def test_a_tone_map_is_a_gain_map(version):
    exif = exif_block()
    content = encode(Picture(smooth(8, 8, 3), exif=exif), "avif")
    at = content.index(b"infe", content.index(b"Exif") - 16)
    assert content[at + 12 : at + 16] == b"Exif"
    assert read_heif_facts(io.BytesIO(content)).notes == ()
    changed = content[: at + 12] + b"tmap" + content[at + 16 :]
    if version == 3:
        changed = content[: at + 4] + bytes((3, 0, 0, 0)) + bytes(6) + b"tmap" + content[at + 18 :]
    assert read_heif_facts(io.BytesIO(changed)).notes == (GAIN_MAP_NOTE,)


def broken(profile):
    return profile[:200]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_profile_that_cannot_be_kept_is_named(format, channels):
    """That of other channels, as scanners write, and one that is cut off."""
    mode, file = ("L", "RGB")[channels == 3], io.BytesIO()
    profile = broken(SRGB) if channels == 3 or format == "webp" else SRGB
    Image.new(mode, (8, 8)).save(file, format, icc_profile=profile)
    picture = read_image(file.getvalue())
    assert picture.icc_profile is None
    assert picture.notes == (LOST_PROFILE,)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("profile", [broken(SRGB), b"", None])
def test_a_profile_that_a_pillow_image_cannot_keep_is_named(mode, profile):
    image = Image.new(mode, (8, 8))
    image.info["icc_profile"] = SRGB if mode == "CMYK" and profile else profile
    assert picture_from_pil(image).notes == (() if profile is None else (LOST_PROFILE,))


def test_a_profile_with_a_missing_part_is_named():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", icc_profile=SRGB)
    content = file.getvalue().replace(b"ICC_PROFILE\0\1\1", b"ICC_PROFILE\0\2\2")
    picture = read_image(content)
    assert (picture.icc_profile, len(picture.notes)) == (None, 1)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(("photometric", "colors"), [("minisblack", 1), ("rgb", 3), ("separated", 4)])
@pytest.mark.parametrize("kind", ["unspecified", "unassalpha"])
def test_a_tiff_channel_that_is_not_alpha_is_not_transparency(kind, photometric, colors, compression):
    pixels = np.dstack([smooth(8, 9, 3), smooth(8, 9, 3)])[..., : colors + 1]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.ascontiguousarray(pixels),
        photometric=photometric,
        planarconfig="contig",
        extrasamples=[kind],
        compression=compression,
    )
    picture = read_image(file.getvalue())
    assert picture.has_alpha == (kind == "unassalpha")
    assert picture.notes == (() if picture.has_alpha else ("a channel that is not alpha was left out",))
    if colors < 4:
        np.testing.assert_array_equal(picture.pixels[..., :colors], pixels[..., :colors])
