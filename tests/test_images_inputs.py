"""Formats that are read and not written."""

import contextlib
import io
import struct
import subprocess
import sys

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from adadsr import formats
from adadsr.errors import ImageFileError
from adadsr.formats import FORMATS, INPUT_FORMATS
from adadsr.images import Picture, _jxlheaders, encode, read_image, read_size, write_image
from adadsr.images._pngcolor import PngColor
from file_tools import tool
from image_samples import SRGB, exif_block, noise, smooth

READ_ONLY = {row.name: row for row in INPUT_FORMATS if row not in FORMATS}
WIDE, HIGH = 70, 44


def pillow(name, **options):
    def make(pixels):
        file = io.BytesIO()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(file, name, **options)
        return file.getvalue()

    return make


def ppm(pixels):
    kind, top = {1: b"P5", 3: b"P6"}[pixels.shape[2]], np.iinfo(pixels.dtype).max
    head = b"%s\n# a comment\n%d %d\n%d\n" % (kind, pixels.shape[1], pixels.shape[0], top)
    return head + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


def jxl(pixels):
    return imagecodecs.jpegxl_encode(pixels.squeeze(), lossless=True)


def jp2(pixels):
    content = imagecodecs.jpeg2k_encode(pixels.squeeze(), reversible=True)
    if pixels.shape[2] % 2:
        return content
    entries = b"".join(struct.pack(">HHH", at, at == pixels.shape[2] - 1, 0) for at in range(pixels.shape[2]))
    cdef = struct.pack(">I4sH", 10 + len(entries), b"cdef", pixels.shape[2]) + entries
    return with_box(content, cdef)


def with_box(content, box):
    """A JPEG 2000 with one more box in its header."""
    at = content.index(b"jp2h")
    (size,) = struct.unpack(">I", content[at - 4 : at])
    end = at - 4 + size
    return content[: at - 4] + struct.pack(">I", size + len(box)) + content[at:end] + box + content[end:]


def heic(pixels):
    file = io.BytesIO()
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]] + (";16" if pixels.dtype == np.uint16 else "")
    image = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    image.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    return file.getvalue()


EXACT = {
    "PPM": (ppm, [(1, 8), (3, 8), (1, 16), (3, 16)]),
    "BMP": (pillow("BMP"), [(1, 8), (3, 8)]),
    "JPEG 2000": (jp2, [(1, 8), (2, 8), (3, 8), (4, 8), (1, 16), (3, 16), (4, 16)]),
    "JPEG XL": (jxl, [(1, 8), (2, 8), (3, 8), (4, 8), (1, 16), (3, 16), (4, 16)]),
}
CASES = [(name, *kind) for name, (_, kinds) in EXACT.items() for kind in kinds]


def sample(name):
    """A small file of a format."""
    pixels = smooth(HIGH, WIDE)
    if name == "HEIC":
        return heic(pixels)
    return pillow("GIF")(pixels) if name == "GIF" else EXACT[name][0](pixels)


@pytest.mark.parametrize(("name", "channels", "bits"), CASES)
def test_samples_are_read_exactly(name, channels, bits):
    pixels = noise((HIGH, WIDE, channels), np.uint8 if bits == 8 else np.uint16)
    content = EXACT[name][0](pixels)
    picture = read_image(content)
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert read_size(content) == (HIGH, WIDE)
    assert picture.notes == ()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_jpeg_xl_of_any_depth_has_the_full_range(channels, bits):
    """Against pillow-jxl-plugin, which decodes to 8 bits, or gray to 16."""
    import pillow_jxl  # noqa: F401  (Pillow reads JPEG XL then)

    top = 2**bits - 1
    samples = (noise((HIGH, WIDE, channels)).astype(int) * top // 255).astype(np.uint8 if bits <= 8 else np.uint16)
    content = imagecodecs.jpegxl_encode(samples.squeeze(), lossless=True, bitspersample=bits)
    picture = read_image(content)
    full = 255 if bits <= 8 else 65535
    assert picture.pixels.max() == full
    np.testing.assert_allclose(picture.pixels / full, samples / top, atol=0.51 / full)
    assert read_size(content) == (HIGH, WIDE)
    with Image.open(io.BytesIO(content)) as image:
        other = np.asarray(image).reshape(HIGH, WIDE, channels)
    np.testing.assert_allclose(picture.pixels / full, other / np.iinfo(other.dtype).max, atol=0.51 / 255)


def test_jpeg_xl_whose_header_has_a_preview_and_an_animation():
    """The depth comes after them."""

    def header(*fields):
        value = at = 0
        for count, number in fields:
            value, at = value | number << at, at + count
        return b"\xff\x0a" + value.to_bytes(64, "little")

    sides = [(1, 0), (2, 0), (9, 43), (3, 0), (2, 1), (13, 599)]
    preview = [(1, 1), (2, 2), (5, 3), (3, 0), (2, 1)]
    animation = [(2, 2), (10, 999), (2, 0), (2, 1), (3, 5), (1, 0)]
    extra = [(3, 5), (1, 1), *sides, (1, 1), *preview, (1, 1), *animation]
    facts = _jxlheaders.read_facts(header(*sides, (1, 0), (1, 1), *extra, (1, 0), (2, 3), (6, 13)))
    assert facts == (600, 44, 6, 14)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_heic(channels, dtype):
    pixels = smooth(HIGH, WIDE, channels).astype(dtype)
    pixels *= 1 if dtype == np.uint8 else 257
    content = heic(pixels)
    picture = read_image(content)
    assert picture.bits == 8 * np.dtype(dtype).itemsize
    scale = 1 if dtype == np.uint8 else 257
    assert np.abs(picture.pixels.astype(float) - pixels).max() / scale <= 3
    assert read_size(content) == (HIGH, WIDE)


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_format_is_recognised_and_has_a_row(name):
    content = sample(name)
    assert formats.recognise(content[: formats.HEAD_BYTES]) is READ_ONLY[name]
    assert [row for row in INPUT_FORMATS if row.matches(content)] == [READ_ONLY[name]]
    assert all(formats.input_format_of(suffix) is READ_ONLY[name] for suffix in READ_ONLY[name].suffixes)
    picture = read_image(content)
    assert (picture.height, picture.width) == read_size(content) == (HIGH, WIDE)


@pytest.mark.parametrize("name", READ_ONLY)
def test_truncated_anywhere(name):
    content = sample(name)
    for size in np.linspace(20, len(content) - (2 if name == "GIF" else 1), 25).astype(int):
        with pytest.raises(ImageFileError, match=f"<bytes>: ({name}|truncated or corrupt|the content is not)"):
            read_image(content[:size])


@pytest.mark.parametrize("name", READ_ONLY)
def test_the_limit_holds_before_anything_is_decoded(name, monkeypatch):
    with pytest.raises(ImageFileError, match=f"{WIDE}x{HIGH} is over the limit"):
        read_image(sample(name), max_pixels=WIDE * HIGH - 1)


@pytest.mark.parametrize("name", READ_ONLY)
def test_random_damage_never_gives_another_error(name):
    content, rng = sample(name), np.random.default_rng(2)
    for _ in range(60):
        changed = bytearray(content)
        for at in rng.integers(2, len(content), 3):
            changed[at] = rng.integers(256)
        with contextlib.suppress(ImageFileError):
            assert read_image(bytes(changed), max_pixels=10**6).pixels.size


@pytest.mark.parametrize("name", [row.name for row in READ_ONLY.values() if row.needs_extra])
def test_a_missing_extra_is_named(name, monkeypatch):
    for module in ("imagecodecs", "pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageFileError) as caught:
        read_image(sample_bytes[name])
    assert str(caught.value) == (
        f'<bytes>: {name} needs the extra `formats`; pip install "adadsr[formats]", or convert it'
    )


sample_bytes = {name: sample(name) for name in READ_ONLY}


@pytest.mark.parametrize("channels", [1, 3])
def test_still_gifs(channels):
    picture = read_image(pillow("GIF")(smooth(HIGH, WIDE, channels)))
    assert picture.pixels.shape == (HIGH, WIDE, channels)
    with Image.open(io.BytesIO(pillow("GIF")(smooth(HIGH, WIDE, channels)))) as image:
        expected = image.convert("RGB" if channels == 3 else "L")
    np.testing.assert_array_equal(picture.pixels.squeeze(), np.asarray(expected))


def test_transparent_gifs():
    image = Image.fromarray(smooth(HIGH, WIDE)).quantize(16)
    file = io.BytesIO()
    image.save(file, "GIF", transparency=3)
    picture = read_image(file.getvalue())
    np.testing.assert_array_equal(picture.pixels[..., 3] == 0, np.asarray(image) == 3)


def test_animated_gifs_are_refused():
    frames = [Image.fromarray(smooth(HIGH, WIDE) // number) for number in (1, 2)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFileError, match="has 2 frames; write an animation"):
        read_image(file.getvalue())


@pytest.mark.parametrize("mode", ["1", "P"])
def test_other_bmps(mode):
    pixels = noise((HIGH, WIDE, 4))
    image = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, "BMP")
    picture = read_image(file.getvalue())
    expected = np.asarray(image.convert("L" if mode == "1" else "RGB"))
    np.testing.assert_array_equal(picture.pixels.squeeze(), expected)


def bmp(rows, width, height, bits, *, size=40, compression=0, used=0, after=b""):
    """A BMP of bytes: its rows, and what stands between them and the header."""
    if size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(rows), 0, 0, used, 0)
    start = 14 + len(header) + len(after)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + after + rows


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("size", [12, 40])
def test_palettes_of_bmp(bits, size):
    rng, width, height = np.random.default_rng(bits), 13, 5
    palette, indices = rng.integers(0, 256, (1 << bits, 3), np.uint8), rng.integers(0, 1 << bits, (height, width))
    places = (indices[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(height, -1)
    rows = np.packbits(np.pad(places, ((0, 0), (0, -places.shape[1] % 32))), axis=1)[::-1].tobytes()
    entries = np.pad(palette[:, ::-1], ((0, 0), (0, 0 if size == 12 else 1))).tobytes()
    content = bmp(rows, width, height, bits, size=size, after=entries)
    np.testing.assert_array_equal(read_image(content).pixels, palette[indices])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), palette[indices])
    one_color = bmp(rows, width, height, bits, used=1, after=bytes(4))
    with pytest.raises(ImageFileError, match="a color is missing in its palette"):
        read_image(one_color)


@pytest.mark.parametrize(("compression", "masks"), [(0, None), (3, (0xF800, 0x7E0, 0x1F)), (3, (0x1F, 0x7E0, 0xF800))])
def test_16_bits_a_pixel(compression, masks):
    words = np.random.default_rng(0).integers(0, 1 << 15, (4, 6)).astype("<u2")
    after = b"" if masks is None else struct.pack("<3I", *masks)
    found = read_image(bmp(words[::-1].tobytes(), 6, 4, 16, compression=compression, after=after)).pixels
    for channel, mask in enumerate(masks or (0x7C00, 0x3E0, 0x1F)):
        step = mask & -mask
        np.testing.assert_array_equal(found[..., channel], np.rint((words & mask) // step / (mask // step) * 255))


def test_10_bits_a_sample_of_bmp_cover_16():
    masks = (0x3FF00000, 0xFFC00, 0x3FF)
    words = np.array([[0, 0x3FFFFFFF, 0x3FF]], "<u4")
    found = read_image(bmp(words.tobytes(), 3, 1, 32, compression=3, after=struct.pack("<3I", *masks))).pixels
    assert found.tolist() == [[[0, 0, 0], [65535, 65535, 65535], [0, 0, 65535]]]


@pytest.mark.parametrize("difference", [0, 1])
def test_only_equal_channels_of_a_bmp_are_gray(difference):
    pixels = np.full((3, 4, 3), 90, np.uint8)
    pixels[1, 2, 0] += difference
    assert read_image(pillow("BMP")(pixels)).pixels.shape == (3, 4, 3 if difference else 1)


def test_the_profile_of_a_bmp():
    rows = noise((4, 4, 3)).tobytes()
    after = bytearray(124 - 40)
    struct.pack_into("<4s", after, 56 - 40, b"DEBM")
    struct.pack_into("<II", after, 112 - 40, 124 + len(rows), len(SRGB))
    assert read_image(bmp(rows, 4, 4, 24, size=124, after=bytes(after)) + SRGB).icc_profile == SRGB


@pytest.mark.parametrize(("compression", "bits"), [(1, 8), (2, 4), (4, 24), (5, 24), (3, 24), (0, 2)])
def test_other_bmps_are_not_called_damaged(compression, bits):
    with pytest.raises(ImageFileError, match=r"BMP with .*; convert it"):
        read_image(bmp(bytes(4 * 64), 8, 8, bits, compression=compression, after=bytes(64)))


def test_a_bmp_that_claims_more_rows_than_it_has():
    """imagecodecs read on behind its end."""
    content = bytearray(pillow("BMP")(smooth(40, 52)))
    content[22:26] = (32552).to_bytes(4, "little")
    with pytest.raises(ImageFileError, match="pixel data is missing"):
        read_image(bytes(content))


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("size", [56, 108, 124])
def test_alpha_of_bmp(top_down, size):
    pixels = noise((5, 6, 4))
    rows = (pixels if top_down else pixels[::-1])[..., [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", size, 6, -5 if top_down else 5, 1, 32, 3, len(rows), 0, 0, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(size - 56)
    content = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(rows), 0, 0, 14 + len(header)) + header + rows
    np.testing.assert_array_equal(read_image(content).pixels, pixels)


def test_bitmaps_and_other_largest_samples():
    bits = noise((5, 13, 1)) & 1
    content = b"P4 13 5\n" + np.packbits(bits[..., 0], axis=1).tobytes()
    np.testing.assert_array_equal(read_image(content).pixels, (1 - bits) * 255)
    content = b"P5 3 1 15\n" + bytes((0, 7, 15))
    np.testing.assert_array_equal(read_image(content).pixels.ravel(), (0, 119, 255))
    content = b"P5 3 1 1023\n" + np.array((0, 512, 1023), ">u2").tobytes()
    np.testing.assert_array_equal(read_image(content).pixels.ravel(), (0, 32800, 65535))


@pytest.mark.parametrize("bits", [5, 10, 12])
def test_jpeg_2000_of_other_depths_covers_the_full_range(bits):
    levels = np.arange(1 << bits).reshape(-1, 32)
    stored = levels.astype(np.uint8 if bits <= 8 else np.uint16)
    picture = read_image(imagecodecs.jpeg2k_encode(stored, reversible=True, bitspersample=bits))
    full = 255 if bits <= 8 else 65535
    np.testing.assert_array_equal(picture.pixels[..., 0], np.rint(levels / levels.max() * full))


def test_the_profile_of_jpeg_2000():
    content, box = jp2(smooth(HIGH, WIDE)), struct.pack(">I4sBBB", 11 + len(SRGB), b"colr", 2, 0, 0) + SRGB
    assert read_image(with_box(content, box)).icc_profile == SRGB


@pytest.mark.parametrize("compressed", [False, True])
def test_exif_of_jpeg_xl(compressed):
    import pillow_jxl  # noqa: F401  (Pillow writes JPEG XL then)

    file = io.BytesIO()
    options = {"exif": exif_block(), "compress_metadata": compressed}
    Image.fromarray(smooth(HIGH, WIDE)).save(file, "JXL", lossless=True, **options)
    assert b"Maker" in read_image(file.getvalue()).exif


def test_the_profile_of_jpeg_xl(tmp_path):
    adobe = PngColor(45455, (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)).profile(gray=False)
    write_image(tmp_path / "a.png", Picture(smooth(HIGH, WIDE), adobe))
    command = [tool("cjxl", "libjxl-tools"), "-d", "0", tmp_path / "a.png", tmp_path / "a.jxl"]
    subprocess.run(command, check=True, capture_output=True)
    picture = read_image(tmp_path / "a.jxl")
    np.testing.assert_array_equal(picture.pixels, smooth(HIGH, WIDE))
    greens = [
        ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.green_colorant[0]
        for profile in (picture.icc_profile, adobe)
    ]
    assert greens[0] == pytest.approx(greens[1], abs=1e-3)


@pytest.mark.parametrize("end", [b"", bytes(2), b"\xff\xd8"])
def test_a_jpeg_2000_without_its_end(end):
    content = jp2(smooth(HIGH, WIDE))
    with pytest.raises(ImageFileError, match="truncated or corrupt JPEG 2000"):
        read_image(content[:-2] + end)
    blank = content[:-40] + bytes(40)
    with pytest.raises(ImageFileError, match="its end is missing"):
        read_image(blank)


def test_colour_spaces_of_jpeg_2000_that_are_not_known():
    content = jp2(smooth(HIGH, WIDE)).replace(b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0\0\0\0\x12")
    with pytest.raises(ImageFileError, match="JPEG 2000 with another colour space than sRGB or gray; convert it"):
        read_image(content)


def test_metadata_and_orientation_of_heic(tmp_path):
    """pillow-heif turns the pixels; EXIF still has the orientation of those before."""
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    exif = exif_block(orientation=6)
    Image.fromarray(smooth(HIGH, WIDE)).save(file, "HEIF", quality=-1, exif=exif, icc_profile=SRGB)
    content = file.getvalue()
    picture = read_image(content)
    assert read_size(content) == (picture.height, picture.width)
    assert picture.icc_profile == SRGB
    with Image.open(io.BytesIO(encode(picture, "jpeg"))) as image:
        found = image.getexif()
        assert (found[0x010F], found[0x0112]) == ("Maker", 1)
        assert found.get_ifd(0x8769)[0xA002] == picture.width


def test_other_pictures_of_a_heic_are_named():
    file = io.BytesIO()
    images = pillow_heif.from_pillow(Image.fromarray(smooth(HIGH, WIDE)))
    images.add_from_pillow(Image.fromarray(smooth(HIGH, WIDE)))
    images.save(file)
    assert read_image(file.getvalue()).notes == ("1 other picture in the file was left out",)


def test_colour_codes_of_heic():
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(smooth(HIGH, WIDE)))
    image[0].info["nclx_profile"] = {
        "color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1,
    }  # fmt: skip
    image.save(file, color_primaries=12, transfer_characteristics=13, matrix_coefficients=6, full_range_flag=1)
    picture = read_image(file.getvalue())
    assert picture.extra.cicp[:2] == (12, 13)
    assert picture.icc_profile is not None
