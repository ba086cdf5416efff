"""EXIF and resolution follow the picture, keep their bytes, and are never invented."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from adadsr.images import Picture, encode, picture_from_pil, read_image, write_image
from adadsr.images import _exif as exif_blocks
from file_tools import exiftool
from image_samples import SUFFIXES, exif_block, exif_of, jpeg_with, noise, png_with, smooth, xmp_packet

WIDE, HIGH = 40, 24
PIXELS = smooth(HIGH, WIDE)


def doubled(picture):
    return replace(picture, pixels=picture.pixels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_of_a_turned_picture(order, orientation):
    """A mark at the subject of the stored picture is at the subject of the upright and enlarged one."""
    x, y, w, h = 30, 6, 8, 4
    detail = {0x9214: (x, y, w, h), 0xA214: (x, y), 0xA002: WIDE, 0xA003: HIGH, 0x927C: b"maker note"}
    block = exif_of(order, ({0x0112: orientation, 0x0100: WIDE, 0x0101: HIGH, 0x010F: "Maker"}, detail))
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    pixels[y - h // 2 : y + h // 2, x - w // 2 : x + w // 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=block)
    picture = doubled(read_image(file.getvalue()))
    with Image.open(io.BytesIO(encode(picture, "png"))) as image:
        exif = image.getexif()
        values = np.asarray(image)
    found = exif.get_ifd(0x8769)
    assert (exif[0x0112], exif[0x0100], exif[0x0101], exif[0x010F]) == (1, *image.size, "Maker")
    assert (found[0xA002], found[0xA003], found[0x927C]) == (*image.size, b"maker note")
    rows, columns = np.nonzero(values[..., 0])
    assert found[0x9214] == (
        (columns.min() + columns.max() + 1) // 2,
        (rows.min() + rows.max() + 1) // 2,
        np.ptp(columns) + 1,
        np.ptp(rows) + 1,
    )
    assert found[0xA214] == found[0x9214][:2]


@pytest.mark.parametrize("order", "<>")
def test_exif_keeps_all_other_bytes(order):
    """Offsets inside a maker's note count from the start of the block."""
    block = exif_of(order, ({0x010F: "Maker", 0x0112: 1}, {0x927C: bytes(range(256)), 0xA002: WIDE}))
    changed = exif_blocks.sized(exif_blocks.cleaned(block, (WIDE, HIGH)), (WIDE, HIGH), (2 * WIDE, 2 * HIGH))
    assert len(changed) == len(block)
    assert sum(a != b for a, b in zip(changed, block, strict=True)) == 1


def test_sizes_beyond_16_bits():
    """A 16-bit size becomes one of 32 bits where it stands."""
    block = exif_blocks._Block(exif_block()).data
    assert struct.unpack("<H", block[:2] and block[2:4])
    order = "<" if block[:2] == b"II" else ">"
    at = (
        block.index(struct.pack(order + "HHI", 0xA002, 3, 1))
        if struct.pack(order + "HHI", 0xA002, 3, 1) in block
        else 0
    )
    if not at:
        at = block.index(struct.pack(order + "HHI", 0xA002, 4, 1))
        struct.pack_into(order + "HHIHH", block, at, 0xA002, 3, 1, 3, 0)
    wide = Picture(np.zeros((1, 70000, 1), np.uint8), exif=b"Exif\0\0" + bytes(block))
    with Image.open(io.BytesIO(encode(wide, "png"))) as image:
        assert image.getexif().get_ifd(0x8769)[0xA002] == 70000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_invented(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(PIXELS))
    tags = exiftool(path)
    technical = ("SourceFile", "ExifTool:", "System:", "File:", "JFIF:", "PNG:", "RIFF:", "Composite:", "QuickTime:")
    left = {tag for tag in tags if not tag.startswith((*technical, "Meta:"))}
    if suffix == ".tif":
        assert tags["IFD0:ResolutionUnit"] == 1
        assert not left & {f"IFD0:{name}" for name in ("Software", "ImageDescription", "ModifyDate", "Make")}
        left = {tag for tag in left if not tag.startswith("IFD0:")}
    assert left == set()
    again = read_image(path)
    assert (again.exif, again.xmp, again.dpi, again.extra.aspect) == (None, None, None, None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_without_sizes_gets_none(suffix):
    block = exif_of("<", ({0x010F: "Maker"}, {}))
    with Image.open(io.BytesIO(encode(Picture(PIXELS, exif=block), suffix))) as image:
        exif = image.getexif()
        assert exif[0x010F] == "Maker"
        if suffix != ".tif":
            assert set(exif) - {0x010F, 0x0112} == set()  # libheif adds an orientation of 1
        assert exif.get_ifd(0x8769) == {}


@pytest.mark.parametrize("exif", [None, exif_block()])
def test_a_jpeg_begins_with_a_jfif_segment(exif):
    content = encode(Picture(PIXELS, exif=exif), "jpeg")
    assert content[:11] == b"\xff\xd8\xff\xe0\0\x10JFIF\0"
    assert content.count(b"JFIF\0") == 1


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("quality", [80, 100])
@pytest.mark.parametrize("xmp", [None, xmp_packet(' dc:format="x"/>')])
def test_exif_of_a_webp_is_a_tiff_without_another_header(channels, quality, xmp):
    content = encode(Picture(noise((9, 7, channels)), exif=exif_block(), xmp=xmp), "webp", quality=quality)
    at = content.index(b"EXIF")
    assert content[at + 8 : at + 10] in (b"II", b"MM")
    assert b"Exif\0\0" not in content
    assert len(content) == int.from_bytes(content[4:8], "little") + 8
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x010F] == "Maker"
        assert (image.info.get("xmp") is None) == (xmp is None)
        image.load()
    assert read_image(content).pixels.shape[2] == channels


RESOLUTIONS = {"inch": (300.0, 150.0), "centimetre": (120.0, 60.0), "none": (2.0, 1.0)}


@pytest.mark.parametrize("target", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("unit", RESOLUTIONS)
@pytest.mark.parametrize("source", ["png", "jpeg", "tiff", "exif"])
def test_resolutions_of_every_unit(source, unit, target):
    x, y = RESOLUTIONS[unit]
    per_inch = (2.54 * x, 2.54 * y) if unit == "centimetre" else (x, y)
    code = {"none": 1, "inch": 2, "centimetre": 3}[unit]
    if source == "tiff":
        file = io.BytesIO()
        tifffile.imwrite(file, PIXELS, photometric="rgb", resolution=(x, y), resolutionunit=code)
        content = file.getvalue()
    elif source == "png":
        numbers = (x, y) if unit == "none" else [round(each / 0.0254) for each in per_inch]
        content = png_with([(b"pHYs", struct.pack(">IIB", *map(int, numbers), unit != "none"))])
    elif source == "jpeg":
        content = jpeg_with()
        content = content[:13] + struct.pack(">BHH", code - 1, int(x), int(y)) + content[18:]
    else:
        block = exif_of("<", ({0x011A: IFDRational(int(x)), 0x011B: IFDRational(int(y)), 0x0128: code}, {}))
        content = jpeg_with(exif=block)
    picture = read_image(encode(read_image(content), target))
    if unit == "none":
        assert picture.dpi is None
        assert picture.extra.aspect[0] / picture.extra.aspect[1] == pytest.approx(2)
    else:
        assert picture.dpi == pytest.approx(per_inch, rel=0.01)
        assert picture.extra.aspect is None


def test_the_resolution_of_a_turned_picture_is_turned():
    file = io.BytesIO()
    tifffile.imwrite(
        file, PIXELS, photometric="rgb", resolution=(300, 150), resolutionunit=2, extratags=[(274, 3, 1, 6, True)]
    )
    assert read_image(file.getvalue()).dpi == pytest.approx((150, 300))


def test_damaged_exif_is_named():
    picture = read_image(jpeg_with((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")))
    assert picture.exif is None
    assert picture.notes == ("damaged EXIF was left out",)


def test_pillow_images_follow_the_same_rules():
    file = io.BytesIO(jpeg_with(exif=exif_block(orientation=6)))
    picture = doubled(picture_from_pil(Image.open(file)))
    with Image.open(io.BytesIO(encode(picture, "png"))) as image:
        assert image.getexif()[0x0112] == 1
        assert image.getexif().get_ifd(0x8769)[0xA002] == 2 * HIGH


@pytest.mark.parametrize("kind", [2, 5, 7, 10, 12])
@pytest.mark.parametrize("tag", [0x0100, 0x0112, 0xA002, 0x9214])
def test_tags_of_a_wrong_type_are_left_alone(kind, tag):
    entries = {0x0100: WIDE, 0x0112: 6}
    block = bytearray(exif_of("<", (entries, {0xA002: WIDE, 0x9214: (1, 2, 3, 4), 0x927C: b"note"})))
    at = next(at for at in range(len(block)) if struct.unpack_from("<H", block, at)[0] == tag)
    struct.pack_into("<H", block, at + 2, kind)
    cleaned = exif_blocks.cleaned(bytes(block), (WIDE, HIGH))
    assert b"note" in exif_blocks.sized(cleaned, (WIDE, HIGH), (2 * WIDE, 2 * HIGH))
