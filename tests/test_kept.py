"""The guide's table of what each format keeps, read back by Pillow, exiftool and libavif rather than by libvips."""

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from adadsr.errors import ImageFileError
from adadsr.formats import FORMATS
from adadsr.images import Picture, encode, losses, read_image, write_image
from adadsr.images._cicp import Cicp, profile_of
from adadsr.images._picture import Extra
from adadsr.images._pngcolor import PngColor
from file_tools import avif_codes, avifdec, exiftool, pillow
from image_samples import SRGB, exif_block, gray_profile, noise, smooth, xmp_packet

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide.md"
IPTC = b"\x1c\x02\x05\0\x05Title"
PHOTOSHOP = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
PIXELS = smooth(24, 40)


def geotiff():
    file = io.BytesIO()
    tifffile.imwrite(file, PIXELS, photometric="rgb", extratags=[(33550, 12, 3, (2.0, 2.0, 0.0), True)])
    return read_image(file.getvalue())


def wrote(folder, row, picture):
    path = folder / f"a{row.suffixes[0]}"
    write_image(path, picture, quality=100)
    return path


def bits(folder, row):
    """By the gray levels that survive."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    path = wrote(folder, row, Picture(levels.repeat(3, 2)))
    if row.name == "AVIF":
        count = len(np.unique(avifdec(path, folder)))
    elif row.name == "TIFF":
        count = len(np.unique(tifffile.imread(path)))
    elif row.name == "PNG":
        count = 65536 if exiftool(path)["PNG:BitDepth"] == 16 else 256
    else:
        count = len(np.unique(np.asarray(pillow(path))))
    return f"{count.bit_length() - 1} bits"


def gray(folder, row):
    return pillow(wrote(folder, row, Picture(PIXELS[..., :1]))).mode == "L"


def transparency(folder, row):
    picture = Picture(noise((8, 8, 4)))
    if row.has_alpha:
        return pillow(wrote(folder, row, picture)).mode == "RGBA"
    with pytest.raises(ImageFileError, match="cannot hold transparency"):
        wrote(folder, row, picture)
    return False


def profile(folder, row):
    return pillow(wrote(folder, row, Picture(PIXELS, SRGB))).info.get("icc_profile") == SRGB


def profile_of_gray(folder, row):
    path = wrote(folder, row, Picture(PIXELS[..., :1], gray_profile(1.8)))
    kept = pillow(path).info.get("icc_profile")
    return "converted" if kept is None else kept == gray_profile(1.8)


def exif(folder, row):
    path = wrote(folder, row, Picture(PIXELS, exif=exif_block()))
    tags, image = exiftool(path), pillow(path).getexif()
    assert image[0x010F] == "Maker"
    assert image.get_ifd(0x8769)[0xA002] == PIXELS.shape[1]
    return tags["ExifIFD:UserComment"] == "hello" and tags["GPS:GPSLatitude"] == pytest.approx(52.5004, abs=1e-4)


def xmp(folder, row):
    return exiftool(wrote(folder, row, Picture(PIXELS, xmp=xmp_packet(' xmp:Rating="4"/>')))).get("XMP-xmp:Rating") == 4


def iptc(folder, row):
    picture = Picture(PIXELS, extra=Extra(photoshop=PHOTOSHOP))
    return exiftool(wrote(folder, row, picture)).get("IPTC:ObjectName") == "Title"


def texts(folder, row):
    picture = Picture(PIXELS, extra=Extra(texts=(("Comment", "a text"),)))
    tags = exiftool(wrote(folder, row, picture))
    return "a text" in (tags.get("PNG:Comment"), tags.get("File:Comment"), tags.get("IFD0:XPComment"))


def resolution(folder, row):
    path = wrote(folder, row, Picture(PIXELS, dpi=(300.0, 300.0)))
    found = pillow(path).info.get("dpi")
    return found is not None and found == pytest.approx((300, 300), abs=0.1)


def aspect(folder, row):
    path = wrote(folder, row, Picture(PIXELS, extra=Extra(aspect=(2.0, 1.0))))
    tags = exiftool(path)
    pairs = (("PNG-pHYs:PixelsPerUnitX", "PNG-pHYs:PixelsPerUnitY"), ("JFIF:XResolution", "JFIF:YResolution"))
    for x, y in (*pairs, ("IFD0:XResolution", "IFD0:YResolution")):
        if x in tags:
            return tags[x] / tags[y] == 2
    return False


def codes(folder, row):
    cicp = Cicp(9, 16, 9, 1)
    wanted = profile_of(cicp, gray=False)
    path = wrote(folder, row, Picture(PIXELS, wanted, extra=Extra(cicp=cicp)))
    if row.name == "AVIF":
        return avif_codes(path)[:2] == (9, 16)
    if "PNG-cICP:ColorPrimaries" in exiftool(path):
        return exiftool(path)["PNG-cICP:TransferCharacteristics"] == 16
    return "profile" if pillow(path).info.get("icc_profile") == wanted else False


def gamma(folder, row):
    color = PngColor(100000, None)
    wanted = color.profile(gray=False)
    path = wrote(folder, row, Picture(PIXELS, wanted, extra=Extra(png_color=color)))
    assert pillow(path).info.get("icc_profile") == wanted
    return exiftool(path).get("PNG:Gamma") == 1 or "profile"


def geo(folder, row):
    return "IFD0:PixelScale" in exiftool(wrote(folder, row, geotiff()))


ROWS = {
    "samples": bits,
    "single-channel gray": gray,
    "transparency": transparency,
    "ICC profile": profile,
    "gray ICC profile": profile_of_gray,
    "EXIF, with GPS and maker's notes": exif,
    "XMP": xmp,
    "IPTC and Photoshop data": iptc,
    "comments, PNG text": texts,
    "resolution": resolution,
    "aspect ratio without a unit": aspect,
    "colour codes (PNG cICP, AVIF nclx)": codes,
    "PNG gAMA and cHRM": gamma,
    "GeoTIFF, RPC and GDAL tags": geo,
}


def test_the_table_of_the_guide(tmp_path):
    rows = [["property", *(row.name for row in FORMATS)], ["---"] * (len(FORMATS) + 1)]
    for name, check in ROWS.items():
        cells = []
        for row in FORMATS:
            folder = tmp_path / f"{check.__name__}-{row.name}"
            folder.mkdir()
            found = check(folder, row)
            cells.append(found if isinstance(found, str) else ("yes" if found else "no"))
        rows.append([name, *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows).replace("| --- |", "|---|").replace(" --- |", "---|")
    assert table in GUIDE.read_text(), f"docs/guide.md has another table; the right one is\n\n{table}\n"


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)
def test_what_the_table_says_is_lost_is_warned_of(row):
    guide = GUIDE.read_text()
    for title, words, picture in (
        ("IPTC and Photoshop data", "IPTC and Photoshop data", Picture(PIXELS, extra=Extra(photoshop=PHOTOSHOP))),
        ("comments, PNG text", "comments and texts", Picture(PIXELS, extra=Extra(texts=(("a", "b"),)))),
        ("GeoTIFF, RPC and GDAL tags", "GeoTIFF tags", geotiff()),
        ("resolution", "the resolution", Picture(PIXELS, dpi=(300.0, 300.0))),
        ("aspect ratio without a unit", "the resolution", Picture(PIXELS, extra=Extra(aspect=(2.0, 1.0)))),
    ):
        cells = re.search(rf"^\| {re.escape(title)} \|(.*)\|$", guide, re.M)[1].split("|")
        kept = cells[FORMATS.index(row)].strip() == "yes"
        assert losses(f"a{row.suffixes[0]}", picture) == (() if kept else (f"{row.name} cannot hold {words}",))


def test_outputs_are_valid_files_for_their_decoders(tmp_path):
    """Everything at once, in every format, decoded by another library."""
    picture = Picture(
        PIXELS,
        SRGB,
        exif_block(),
        xmp_packet(' xmp:Rating="4"/>'),
        (300.0, 300.0),
        Extra(texts=(("Comment", "a"), ("Title", "é日"))),
    )
    for row in FORMATS:
        with Image.open(io.BytesIO(encode(picture, row.name))) as image:
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - PIXELS).mean() < 4
