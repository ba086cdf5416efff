"""Metadata is carried whole, follows the size and the orientation of the picture, and is never invented."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from adadsr.images import Picture, encode, losses, read_image, write_image
from adadsr.images._jpegsegments import segments
from file_tools import exiftool
from image_samples import exif_of, jpeg_with, png_with, smooth

WIDE, HIGH = 40, 24
PIXELS = smooth(HIGH, WIDE)


def irb(number, data, name=b""):
    title = bytes((len(name),)) + name
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + title
        + bytes(len(title) % 2)
        + struct.pack(">I", len(data))
        + data
        + bytes(len(data) % 2)
    )


IPTC = b"\x1c\x02\x05\0\x05Title\x1c\x02\x19\0\x03sea\x1c\x02\x78\0\x07Caption"


def test_iptc_goes_round_through_jpeg_and_tiff():
    resources = irb(0x03F3, b"\0" * 9) + irb(0x0404, IPTC) + irb(0x07D0, b"a path", b"Path 1")
    stale = irb(0x040C, b"thumbnail") + irb(0x0422, b"exif")
    content = jpeg_with((0xED, b"Photoshop 3.0\0" + resources + stale))
    assert read_image(content).extra.photoshop == resources
    for suffix in ("jpg", "tif", "jpg"):
        content = encode(read_image(content), suffix)
        found = read_image(content).extra.photoshop
        assert irb(0x0404, IPTC.ljust(len(IPTC) + -len(IPTC) % 4, b"\0")) in found or irb(0x0404, IPTC) in found
        assert irb(0x07D0, b"a path", b"Path 1") in found
        assert b"thumbnail" not in found


def test_photoshop_data_of_several_segments():
    resources = irb(0x0404, IPTC) + irb(0x03F5, bytes(range(256)) * 300)
    parts = [resources[at : at + 60000] for at in range(0, len(resources), 60000)]
    picture = read_image(jpeg_with(*((0xED, b"Photoshop 3.0\0" + part) for part in parts)))
    assert picture.extra.photoshop == resources
    assert read_image(encode(picture, "jpeg")).extra.photoshop == resources


@pytest.mark.parametrize("order", "<>")
def test_iptc_of_tiffs_in_either_byte_order(order):
    file = io.BytesIO()
    iptc = IPTC + bytes(-len(IPTC) % 4)
    stored = np.frombuffer(iptc, "u4")
    tifffile.imwrite(file, PIXELS, byteorder=order, photometric="rgb", extratags=[(33723, 1, len(iptc), iptc, True)])
    assert stored.size
    assert read_image(file.getvalue()).extra.photoshop == irb(0x0404, iptc)


@pytest.mark.parametrize("texts", [("one",), ("one", "two"), ("Grüße 日本",), ("x" * 70000,)])
def test_comments(tmp_path, texts):
    picture = read_image(
        jpeg_with(*((0xFE, text.encode()[at : at + 65533]) for text in texts for at in range(0, len(text), 65533)))
    )
    assert "".join(text for _, text in picture.extra.texts) == "".join(texts)
    assert read_image(encode(picture, "jpeg")).extra == picture.extra
    with Image.open(io.BytesIO(encode(picture, "png"))) as image:
        assert image.text["Comment"] == picture.extra.texts[-1][1]
    write_image(tmp_path / "a.tif", picture)
    assert exiftool(tmp_path / "a.tif")["IFD0:XPComment"] == "\n".join(text for _, text in picture.extra.texts)
    assert losses("a.tif", picture) == ()
    assert losses("a.webp", picture) == ("WebP cannot hold comments and texts",)


def test_a_comment_in_latin_1():
    assert read_image(jpeg_with((0xFE, "Grüße".encode("latin-1")))).extra.texts == (("Comment", "Grüße"),)


TEXT_CHUNKS = [
    (b"tEXt", b"parameters\0steps: 20\nseed: 7"),
    (b"zTXt", b"workflow\0\0" + zlib.compress(b"long " * 1000)),
    (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Tütel 日本".encode()),
    (b"iTXt", b"packed\0\1\0\0\0" + zlib.compress("é日".encode())),
    (b"tEXt", "Author\0Jürgen".encode("latin-1")),
    (b"tEXt", b"empty\0"),
]


@pytest.mark.parametrize("place", ["before", "after"])
def test_texts_of_png(place):
    content = png_with(TEXT_CHUNKS) if place == "before" else png_with((), TEXT_CHUNKS)
    picture = read_image(content)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        expected = dict(image.text)
    with Image.open(io.BytesIO(encode(picture, "png"))) as image:
        image.load()
        assert dict(image.text) == expected
    assert picture.notes == ()
    assert ("Comment", "parameters: steps: 20\nseed: 7") in read_image(encode(picture, "jpeg")).extra.texts


def test_texts_that_are_out_of_date_or_damaged_are_left_out():
    picture = read_image(png_with([(b"tEXt", b"Raw profile type exif\0\nexif\n 4\n00"), (b"zTXt", b"bad\0\0not zlib")]))
    assert picture.extra.texts == ()
    assert picture.notes == ("a damaged or very long PNG text was left out",)


def geotiff(keys, tags):
    file = io.BytesIO()
    directory = (1, 1, 0, len(keys), *(number for key, value in keys for number in (key, 0, 1, value)))
    extra = [(34735, 3, len(directory), directory, True)]
    extra += [(tag, 12, len(numbers), tuple(numbers), True) for tag, numbers in tags.items()]
    tifffile.imwrite(file, PIXELS, photometric="rgb", extratags=extra)
    return file.getvalue()


def place(tags, column, row, is_point):
    """Where a position of the raster, in pixels from the outer corner, is on the map, by the tags."""
    column, row = (column - 0.5, row - 0.5) if is_point else (column, row)
    if 34264 in tags:
        matrix = np.array(tags[34264]).reshape(4, 4)
        return (matrix @ (column, row, 0, 1))[:2]
    scale, tie = tags[33550], tags[33922]
    return np.array([tie[3] + (column - tie[0]) * scale[0], tie[4] - (row - tie[1]) * scale[1]])


@pytest.mark.parametrize("raster", [1, 2])
@pytest.mark.parametrize("form", ["scale", "matrix"])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_geotiff_stays_where_it_is(raster, form, factor):
    scale = {33550: (10.0, 20.0, 0.0), 33922: (3.0, 4.0, 0.0, 5e5, 5.3e6, 7.0)}
    matrix = {34264: (9.0, 2.0, 0, 5e5, 1.5, -8.0, 0, 5.3e6, 0, 0, 0, 0, 0, 0, 0, 1)}
    tags = scale if form == "scale" else matrix
    picture = read_image(geotiff([(1024, 1), (1025, raster), (3072, 32632)], tags))
    large = replace(picture, pixels=picture.pixels.repeat(factor, 0).repeat(factor, 1))
    with tifffile.TiffFile(io.BytesIO(encode(large, "tiff"))) as file:
        found = {
            tag: file.pages.first.tags[tag].value
            for tag in (33550, 33922, 34264, 34735)
            if tag in file.pages.first.tags
        }
    assert 32632 in found[34735]
    for column, row in ((0, 0), (7, 5), (WIDE, HIGH)):
        before = place(tags, column, row, raster == 2)
        assert place(found, factor * column, factor * row, raster == 2) == pytest.approx(before)


def test_geotiff_tags_of_a_turned_picture_are_left_out_with_a_note():
    file = io.BytesIO()
    extra = [(33550, 12, 3, (1.0, 1.0, 0.0), True), (274, 3, 1, 6, True)]
    tifffile.imwrite(file, PIXELS, photometric="rgb", extratags=extra)
    picture = read_image(file.getvalue())
    assert picture.extra.geotiff is None
    assert picture.notes == ("GeoTIFF tags of a turned picture were left out",)


def test_tags_of_windows_and_document_names_of_tiffs(tmp_path):
    title = "Titel é".encode("utf-16-le") + b"\0\0"
    extra = [
        (0x9C9B, 1, len(title), title, True),
        (0x4746, 3, 1, 4, True),
        (0x010D, 2, 5, "Name", True),
        (0x11D, 2, 5, "Page", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=extra)
    for suffix in ("tif", "jpg"):
        write_image(tmp_path / f"b.{suffix}", read_image(tmp_path / "a.tif"))
        tags = exiftool(tmp_path / f"b.{suffix}")
        assert (tags["IFD0:XPTitle"], tags["IFD0:Rating"]) == ("Titel é", 4)
        assert (tags["IFD0:DocumentName"], tags["IFD0:PageName"]) == ("Name", "Page")


def test_what_does_not_fit_into_a_jpeg_is_named():
    picture = Picture(PIXELS, exif=exif_of("<", ({0x010F: "x" * 70000}, {})), xmp=b"<damaged" + bytes(70000))
    assert losses("a.jpg", picture) == ("JPEG cannot hold EXIF this long or XMP this long",)
    marks = [each.marker for each in segments(encode(picture, "jpeg"))]
    assert 0xE1 not in marks
