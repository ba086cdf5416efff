"""No decoder error passes as pixels, and a healthy file that cannot be read is not called damaged."""

import contextlib
import io
import struct
import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from adadsr.errors import ImageFileError
from adadsr.images import Picture, encode, read_image, read_size
from adadsr.images._gifcheck import wrong_codes
from adadsr.images._tiffcheck import read_facts
from image_samples import noise, smooth

PIXELS = smooth(120, 160) // 2 + noise((120, 160, 3)) // 8
OF_LIBVIPS = ["none", "deflate", "lzw", "packbits"]
OF_EXTRA = ["zstd", "lzma", "lerc", "jpeg2000", "jpegxl"]
LAYOUTS = {"strips": {"rowsperstrip": 16}, "tiles": {"tile": (64, 64)}}
every_codec = pytest.mark.parametrize("codec", OF_LIBVIPS + OF_EXTRA)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def tiff(codec="none", layout="strips", pixels=PIXELS, **options):
    file = io.BytesIO()
    lossless = {"compressionargs": {"reversible": True}} if codec == "jpeg2000" else {}
    lossless |= {"compressionargs": {"lossless": True}} if codec == "jpegxl" else {}
    options = {"photometric": "rgb", "compression": codec, **LAYOUTS[layout], **lossless, **options}
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def jpeg(pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def refusal(content, **options):
    with pytest.raises(ImageFileError) as caught:
        read_image(content, **options)
    return str(caught.value)


@every_codec
@every_layout
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_of_every_codec_are_read_exactly(codec, layout, dtype):
    pixels = PIXELS if dtype == np.uint8 else noise(PIXELS.shape, dtype)
    content = tiff(codec, layout, pixels, resolution=(300, 150), resolutionunit="inch")
    picture = read_image(content)
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.dpi == pytest.approx((300, 150))
    assert picture.damage is None
    assert read_size(content) == (120, 160)


@every_codec
@every_layout
def test_truncated_tiffs_are_refused_wherever_they_end(codec, layout):
    content = tiff(codec, layout)
    facts = read_facts(io.BytesIO(content))
    first = min(start for start, _ in facts.segments)
    for size in np.linspace(first, len(content) - 1, 25).astype(int):
        assert "truncated or corrupt TIFF" in refusal(content[:size])


@pytest.mark.parametrize("codec", ["none", "zstd"])
@every_layout
def test_missing_strips_and_tiles_are_no_black_pixels(codec, layout, caplog):
    """A directory that lists fewer of them than the picture has."""
    content = tiff(codec, layout)
    tags = (324, 325) if layout == "tiles" else (273, 279)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        found = file.pages.first.tags
        places = [(found[tag].offset, found[tag].count) for tag in tags]
    for at, count in places:
        assert struct.unpack("<I", content[at + 4 : at + 8]) == (count,)
        content = content[: at + 4] + struct.pack("<I", count - 1) + content[at + 8 :]
    assert "truncated or corrupt TIFF" in refusal(content)
    assert caplog.messages == []


@pytest.mark.parametrize("codec", ["deflate", "zstd", "lzma"])
@every_layout
def test_a_changed_byte_is_noticed_where_a_codec_has_checksums(codec, layout):
    """ZSTD has one on request only, so there a change may pass; but then no decoder can tell."""
    content, rng = tiff(codec, layout), np.random.default_rng(3)
    start = min(start for start, _ in read_facts(io.BytesIO(content)).segments)
    for at in rng.integers(start, len(content), 40):
        changed = content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
        try:
            pixels = read_image(changed).pixels
        except ImageFileError:
            continue
        with tifffile.TiffFile(io.BytesIO(changed)) as file:
            np.testing.assert_array_equal(file.asarray(), pixels)


@pytest.mark.parametrize("codec", OF_EXTRA)
@every_layout
def test_a_missing_extra_is_named_and_the_file_not_called_damaged(codec, layout, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    text = refusal(tiff(codec, layout))
    assert 'needs the extra `formats`; pip install "adadsr[formats]"' in text
    assert {"jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL"}.get(codec, codec.upper()) in text
    assert "corrupt" not in text


def test_the_exact_text_of_a_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert refusal(tiff("zstd")) == (
        '<bytes>: TIFF compressed with ZSTD needs the extra `formats`; pip install "adadsr[formats]", or convert it'
    )


def test_tiles_in_separate_planes_are_read():
    content = tiff(layout="tiles", pixels=PIXELS.transpose(2, 0, 1), planarconfig="separate")
    np.testing.assert_array_equal(read_image(content).pixels, PIXELS)


@pytest.mark.parametrize("codec", ["none", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_multiplied_by_alpha(codec, dtype):
    """tifffile stores them, so the division is done here too."""
    top = np.iinfo(dtype).max
    alpha = np.full((120, 160, 1), top // 2 + 1, dtype)
    alpha[:40], alpha[40:60] = top, 0
    colors = noise((120, 160, 3), dtype)
    stored = np.concatenate([(colors * (alpha / top)).round().astype(dtype), alpha], 2)
    content = tiff(codec, pixels=stored, extrasamples=["assocalpha"])
    values = tifffile.imread(io.BytesIO(content)).astype(float)
    straight = (values[..., :3] * top / np.maximum(values[..., 3:], 1)).clip(0, top)
    pixels = read_image(content).pixels
    np.testing.assert_array_equal(pixels[..., 3:], alpha)
    np.testing.assert_allclose(pixels[..., :3], straight, atol=1)


def test_cmyk_multiplied_by_alpha_is_refused():
    pixels = noise((120, 160, 5))
    text = refusal(tiff("zstd", pixels=pixels, photometric="separated", extrasamples=["assocalpha"]))
    assert "colours that are multiplied by alpha" in text


@pytest.mark.parametrize("codec", ["none", "deflate", "zstd", "lzma"])
@pytest.mark.parametrize("gray", [False, True])
def test_palettes_are_looked_up(codec, gray):
    """Against Pillow, of a copy that it can read."""
    ramp = (255 - np.arange(256, dtype=np.uint16)) * 257
    colors = np.stack([ramp] * 3 if gray else [ramp, ramp[::-1], np.roll(ramp, 50)])
    options = {"pixels": noise((120, 160)), "photometric": "palette", "colormap": colors}
    with Image.open(io.BytesIO(tiff("none", **options))) as image:
        expected = np.asarray(image.convert("RGB"))
    pixels = read_image(tiff(codec, **options)).pixels
    assert pixels.shape[2] == (1 if gray else 3)
    np.testing.assert_array_equal(np.broadcast_to(pixels, expected.shape), expected)


@pytest.mark.parametrize("codec", ["none", "deflate", "lzw", "zstd", "lzma"])
def test_ycbcr_without_jpeg_is_refused(codec):
    content = tiff(codec, photometric="ycbcr")
    reason = "YCbCr that is not compressed with JPEG"
    assert refusal(content) == f"<bytes>: TIFF that cannot be read ({reason}); convert it"
    assert refusal(content, accept_damaged=True) == refusal(content)
    assert read_size(content) == (120, 160)


def test_ycbcr_with_jpeg_is_read_as_pillow_reads_it():
    content = tiff("jpeg", "tiles", photometric="ycbcr", subsampling=(1, 1))
    with Image.open(io.BytesIO(content)) as image:
        other = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read_image(content).pixels - other).max() <= 1


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_gray_tiffs_of_either_polarity(codec, photometric):
    gray = PIXELS[..., 0]
    expected = 255 - gray if photometric == "miniswhite" else gray
    content = tiff(codec, pixels=gray, photometric=photometric)
    np.testing.assert_array_equal(read_image(content).pixels[..., 0], expected)


def test_metadata_and_orientation_of_rare_tiffs():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = [(274, 3, 1, 6, True), (34675, 7, len(profile), profile, True), (271, 2, 6, "Maker", True)]
    picture = read_image(tiff("zstd", extratags=tags))
    np.testing.assert_array_equal(picture.pixels, np.rot90(PIXELS, -1))
    assert picture.icc_profile == profile
    assert b"Maker" in picture.exif


@pytest.mark.parametrize("compression", [34677, 60000])
def test_unknown_codecs_are_named(compression):
    content = tiff()
    at = content.index(struct.pack("<HHI", 259, 3, 1)) + 8
    text = refusal(content[:at] + struct.pack("<H", compression) + content[at + 2 :])
    assert f"scheme {compression}" in text
    assert "corrupt" not in text


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_becomes_srgb(codec, dtype, photometric):
    """Against Pillow's L*a*b*, which stores a* and b* as signed numbers, as CIELAB does."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    colors = Image.fromarray(smooth(120, 160) // 2 + 60)
    lab = np.asarray(ImageCms.applyTransform(colors, to_lab)).astype(np.uint16)
    lab[..., 1:] ^= 128  # now a* and b* have an offset
    if dtype == np.uint16:
        top = 257 if photometric == "cielab" else 256
        lab = np.concatenate([lab[..., :1] * top, lab[..., 1:] * 256], 2).astype(np.uint16)
    half = 1 << (8 * np.dtype(dtype).itemsize - 1)
    if photometric == "cielab":
        lab[..., 1:] ^= half
    content = tiff(codec, pixels=lab.astype(dtype), photometric=photometric)
    picture = read_image(content)
    scale = 257 if dtype == np.uint16 else 1
    assert np.abs(picture.pixels / scale - np.asarray(colors)).max() <= 4
    assert picture.bits == 8 * np.dtype(dtype).itemsize
    assert picture.icc_profile is None
    assert read_size(content) == (120, 160)


def damaged_scans():
    """JPEGs with data missing, overwritten or without an end mark, sequential and progressive."""
    for progressive in (False, True):
        content = jpeg(progressive=progressive)
        scan = content.index(b"\xff\xda") + 14
        yield content[:-2]
        for size in np.linspace(scan + 20, len(content) - 40, 8).astype(int):
            yield content[:size]
        for at in np.linspace(scan + 50, len(content) - 300, 5).astype(int):
            yield content[:at] + b"\xff\xd9" + content[at:]
            yield content[:at] + bytes([0xFF, 0x00]) * 100 + content[at + 200 :]


@pytest.mark.parametrize("index", range(len(list(damaged_scans()))))
def test_damaged_jpegs_are_refused_or_marked(index):
    content = list(damaged_scans())[index]
    text = refusal(content)
    assert text.startswith("<bytes>: truncated or corrupt JPEG (")
    assert text.endswith("); get a complete copy, or pass --accept-damaged to take what can be decoded")
    with contextlib.suppress(ImageFileError):
        picture = read_image(content, accept_damaged=True)
        assert picture.pixels.shape == PIXELS.shape
        assert picture.damage
        assert picture.damage in text


def test_only_the_end_mark_is_missing():
    picture = read_image(jpeg()[:-2], accept_damaged=True)
    np.testing.assert_array_equal(picture.pixels, read_image(jpeg()).pixels)
    assert "premature end" in picture.damage


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_what_is_left_of_other_formats_is_taken_and_marked(name):
    whole = encode(read_image(tiff()), name) if name == "png" else tiff("none", "tiles")
    part = whole[: len(whole) * 2 // 3]
    assert "--accept-damaged" in refusal(part)
    picture = read_image(part, accept_damaged=True)
    np.testing.assert_array_equal(picture.pixels[:40, :60], PIXELS[:40, :60])
    assert picture.damage


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_nothing_is_left_of_the_others(name):
    whole = encode(read_image(tiff()), name)
    text = refusal(whole[: len(whole) // 2], accept_damaged=True)
    assert text.endswith("; get a complete copy")


def harmless(content):
    """JPEGs that libjpeg warns of although every pixel is right."""
    scan, app0 = content.index(b"\xff\xda"), content.index(b"JFIF\0")
    yield content[:scan] + bytes(7) + content[scan:]
    yield content[:app0] + b"JFIF\0\x03\x07" + content[app0 + 7 :]
    yield content[: scan + 11] + b"\0\0\0" + content[scan + 14 :]
    yield content[:-2] + bytes(5) + content[-2:]
    yield content[:scan] + b"\xff\xff\xff" + content[scan:]
    yield content + b"anything"


def test_harmless_faults_of_jpegs_are_not_damage():
    expected = read_image(jpeg()).pixels
    for content in harmless(jpeg()):
        picture = read_image(content)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert picture.damage is None


def test_the_mark_goes_with_the_metadata():
    from dataclasses import replace

    picture = read_image(jpeg()[:-2], accept_damaged=True)
    assert replace(picture, pixels=PIXELS.repeat(2, 0)).damage == picture.damage


def test_transparency_that_a_damaged_file_hides_is_not_taken_for_none():
    """libheif leaves out an alpha image whose entry it does not understand: black would show through."""
    content = bytearray(encode(Picture(noise((20, 24, 4))), ".avif"))
    at = [index for index in range(len(content)) if content[index : index + 4] == b"av01"]
    content[at[-1]] ^= 1  # the second image's type
    with pytest.raises(ImageFileError, match=r"damaged|cannot"):
        read_image(bytes(content))


def gif(size=(40, 30), **options):
    content = io.BytesIO()
    Image.fromarray(noise((size[1], size[0], 3))).quantize(64).save(content, "GIF", **options)
    return content.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (40, 30), (300, 200)])
@pytest.mark.parametrize("interlace", [0, 1])
def test_healthy_gifs_have_all_their_pixels(size, interlace):
    content = gif(size, interlace=interlace)
    assert wrong_codes(content) is None
    assert read_image(content).pixels.shape[:2] == size[::-1]


@settings(max_examples=60)
@given(at=st.floats(0.4, 0.97), bit=st.integers(0, 7))
def test_a_gif_with_a_wrong_bit_is_refused_or_read_as_by_pillow(at, bit):
    content = bytearray(gif())
    content[int(at * len(content))] ^= 1 << bit
    try:
        pixels = read_image(bytes(content)).pixels
    except ImageFileError:
        return
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(rgb_of(pixels), np.asarray(image.convert("RGB")))


def rgb_of(pixels):
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
