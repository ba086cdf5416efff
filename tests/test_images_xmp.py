"""XMP follows the size and the orientation of the picture, and loses what is out of date only."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from adadsr.images import Picture, losses, read_image, write_image
from adadsr.images._xmp import cleaned, sized
from file_tools import exiftool
from image_samples import smooth, xmp_packet

WIDE, HIGH = 40, 24
PIXELS = smooth(HIGH, WIDE)


GAIN_MAPS = [
    ' hdrgm:Version="1.0" hdrgm:GainMapMax="2" xmp:Rating="5"/>',
    ' xmp:Rating="5"><hdrgm:Version>1.0</hdrgm:Version><hdrgm:GainMapMax><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq>'
    "</hdrgm:GainMapMax></rdf:Description>",
    ' xmp:Rating="5" xmlns:C="http://ns.google.com/photos/1.0/container/"><C:Directory><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><C:Item xmlns:I="http://ns.google.com/photos/1.0/container/item/" '
    'I:Semantic="GainMap"/></rdf:li></rdf:Seq></C:Directory></rdf:Description>',
]


@pytest.mark.parametrize("form", GAIN_MAPS)
def test_only_the_gain_map_of_xmp_is_dropped(form):
    xmp, notes = cleaned(xmp_packet(form), None, (WIDE, HIGH))
    assert b'Rating="5"' in xmp
    assert b"hdr-gain-map" not in xmp
    assert b"GainMap" not in xmp
    assert notes == ("the HDR gain map was left out; the result is the picture without it",)
    assert cleaned(xmp_packet(' hdrgm:Version="1.0"/>'), None, (WIDE, HIGH)).xmp is None


MOTION = [
    ' xmp:Rating="5" G:MotionPhoto="1" G:MotionPhotoVersion="1" G:MicroVideoOffset="99"/>',
    ' xmp:Rating="5"><G:MicroVideo>1</G:MicroVideo><G:MicroVideoOffset>99</G:MicroVideoOffset></rdf:Description>',
    GAIN_MAPS[2].replace("GainMap", "MotionPhoto"),
]


ITEM = GAIN_MAPS[2].partition("<rdf:Seq>")[2].partition("</rdf:Seq>")[0]
BOTH = (
    '<C:Directory xmlns:C="http://ns.google.com/photos/1.0/container/"><rdf:Seq>'
    f"{ITEM}{ITEM.replace('GainMap', 'MotionPhoto')}</rdf:Seq></C:Directory>"
)


@pytest.mark.parametrize("form", MOTION)
def test_a_video_that_is_not_kept_is_not_promised(form):
    camera = ' xmlns:G="http://ns.google.com/photos/1.0/camera/" G:BurstID="b"'
    xmp, notes = cleaned(xmp_packet(camera + form), None, (WIDE, HIGH))
    assert b'Rating="5"' in xmp
    assert b'BurstID="b"' in xmp
    assert not [word for word in (b"Motion", b"MicroVideo") if word in xmp]
    assert notes == ("the video of the motion photo was left out",)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (' G:MotionPhoto="0" G:MotionPhotoVersion="1"/>', ()),
        ("><G:MicroVideo>0</G:MicroVideo></rdf:Description>", ()),
        (' G:MotionPhoto="1" G:MicroVideo="0"/>', ("video",)),
        (f">{BOTH}</rdf:Description>", ("gain map", "video")),
    ],
)
def test_the_notes_name_what_the_file_had(form, names):
    camera = ' xmp:Rating="5" xmlns:G="http://ns.google.com/photos/1.0/camera/"'
    xmp, notes = cleaned(xmp_packet(camera + form), None, (WIDE, HIGH))
    assert not [word for word in (b"Motion", b"MicroVideo", b"Directory") if word in xmp]
    assert len(notes) == len(names)
    assert all(name in note for name, note in zip(names, notes, strict=True))


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "1e300"])
def test_numbers_that_are_no_place_are_left_alone(text):
    panorama = f' xmlns:P="http://ns.google.com/photos/1.0/panorama/" P:CroppedAreaLeftPixels="{text}"'
    area = f"<exif:SubjectArea><rdf:Seq><rdf:li>{text}</rdf:li><rdf:li>3</rdf:li></rdf:Seq></exif:SubjectArea>"
    xmp = xmp_packet(f"{panorama}>{area}</rdf:Description>")
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", xmp=xmp)
    with Image.open(file) as image:
        assert image.info["xmp"] == read_image(file.getvalue()).xmp == xmp
    assert cleaned(xmp, 6, (WIDE, HIGH)).xmp == xmp
    after = sized(xmp, (WIDE, HIGH), (2 * WIDE, 2 * HIGH))
    assert after.count(text.encode()) == xmp.count(text.encode())
    assert b"<rdf:li>6</rdf:li>" in after


def test_thumbnails_in_xmp_are_dropped():
    xmp = xmp_packet(
        ' xmp:Rating="5"><xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails></rdf:Description>'
    )
    assert b"AAAA" not in cleaned(xmp, None, (WIDE, HIGH)).xmp


@pytest.mark.parametrize("xmp", [xmp_packet(' xmp:Rating="5"/>'), b"<damaged", b"\xff\xfe", b"<!DOCTYPE x><x/>", b""])
def test_a_packet_that_needs_no_change_or_is_damaged_keeps_its_bytes(xmp):
    assert cleaned(xmp, 1, (WIDE, HIGH)) == (xmp, ())
    assert sized(xmp, (WIDE, HIGH), (9, 9)) == xmp


REGION = (
    '><mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions {dims}/><mwg-rs:RegionList><rdf:Bag><rdf:li '
    'rdf:parseType="Resource"><mwg-rs:Area stArea:x="0.75" stArea:y="0.25" stArea:w="0.2" stArea:h="0.5" '
    'stArea:unit="normalized"/>'
    "</rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions></rdf:Description>"
)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_turn_with_the_picture(tmp_path, orientation):
    dims = f'stDim:w="{WIDE}" stDim:h="{HIGH}" stDim:unit="pixel"'
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    pixels[: HIGH // 2, int(0.65 * WIDE) : int(0.85 * WIDE)] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    content = file.getvalue()
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(REGION.format(dims=dims))
    packed = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
    picture = read_image(content[:33] + packed + content[33:])
    picture = replace(picture, pixels=picture.pixels.repeat(2, 0).repeat(2, 1))
    write_image(tmp_path / "a.png", picture)
    regions = exiftool(tmp_path / "a.png")["XMP-mwg-rs:RegionInfo"]
    dimensions = regions["AppliedToDimensions"]
    assert (dimensions["W"], dimensions["H"]) == (picture.width, picture.height)
    area = regions["RegionList"][0]["Area"]
    rows, columns = np.nonzero(picture.pixels[..., 0])
    assert area["X"] == pytest.approx((columns.min() + columns.max() + 1) / 2 / picture.width, abs=0.02)
    assert area["Y"] == pytest.approx((rows.min() + rows.max() + 1) / 2 / picture.height, abs=0.02)
    assert area["W"] == pytest.approx((np.ptp(columns) + 1) / picture.width, abs=0.02)


def test_regions_that_were_upright_already_stay():
    dims = f'stDim:w="{HIGH}" stDim:h="{WIDE}" stDim:unit="pixel"'
    xmp = xmp_packet(REGION.format(dims=dims))
    assert b'stArea:x="0.75"' in cleaned(xmp, 6, (WIDE, HIGH)).xmp


def test_sizes_in_xmp_and_panoramas():
    xmp = xmp_packet(
        f' tiff:ImageWidth="{WIDE}" tiff:ImageLength="{HIGH}" GPano:FullPanoWidthPixels="100"'
        f' GPano:CroppedAreaTopPixels="7" GPano:ProjectionType="equirectangular">'
        f"<exif:PixelXDimension>{WIDE}</exif:PixelXDimension></rdf:Description>"
    )
    found = sized(xmp, (WIDE, HIGH), (3 * WIDE, 2 * HIGH))
    for text in (
        'ImageWidth="120"',
        'ImageLength="48"',
        'FullPanoWidthPixels="300"',
        'CroppedAreaTopPixels="14"',
        ">120<",
    ):
        assert text.encode() in found


def test_extended_xmp_is_read_and_written(tmp_path):
    """exiftool reads what we write, and we read what it joins."""
    long = "x" * 90_000
    xmp = xmp_packet(
        f' xmp:Rating="5"><dc:description><rdf:Alt><rdf:li>{long}</rdf:li></rdf:Alt></dc:description></rdf:Description>'
    )
    write_image(tmp_path / "a.jpg", Picture(PIXELS, xmp=xmp))
    with Image.open(tmp_path / "a.jpg") as image:
        assert b'Rating="5"' in image.info["xmp"]
        assert len(image.info["xmp"]) < 65000
    assert exiftool(tmp_path / "a.jpg")["XMP-xmp:Rating"] == 5
    assert long in str(exiftool(tmp_path / "a.jpg")["XMP-dc:Description"])
    again = read_image(tmp_path / "a.jpg")
    assert b'Rating="5"' in again.xmp
    assert long.encode() in again.xmp
    assert b"HasExtendedXMP" not in again.xmp
    write_image(tmp_path / "a.png", again)
    assert long in str(exiftool(tmp_path / "a.png")["XMP-dc:Description"])
    assert losses("a.jpg", again) == ()
