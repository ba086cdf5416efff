"""What few files have: carried where the format holds it, otherwise named in a warning or refused."""

import io
import struct
import time

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from adadsr.errors import ImageFileError
from adadsr.images import Picture, encode, losses, read_image, read_size
from adadsr.images._cicp import Cicp, profile_of
from adadsr.images._iccprofile import Chromaticities, rgb_profile, srgb_curve
from adadsr.images._jpegmetadata import guid
from adadsr.images._pngchunks import chunks_of
from file_tools import exiftool
from image_samples import exif_of, jpeg_with, png_with, smooth

WIDE, HIGH = 40, 24
PIXELS = smooth(HIGH, WIDE)
XMP_HEAD, XMP_EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
DISPLAY = Chromaticities((0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'


def extended_xmp(size):
    """A JPEG whose XMP has an extension of about `size` bytes."""
    extension = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description xmlns:a="http://a/" '
        f'a:long="{"b" * size}"/></rdf:RDF></x:xmpmeta>'
    ).encode()
    name = guid(extension)
    standard = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmp:Rating="4" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{name}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
    parts = [(0xE1, XMP_HEAD + standard)]
    for at in range(0, len(extension), 60000):
        head = XMP_EXTENSION + name.encode() + struct.pack(">II", len(extension), at)
        parts.append((0xE1, head + extension[at : at + 60000]))
    return jpeg_with(*parts)


@pytest.mark.parametrize(("size", "is_lost"), [(100_000, False), (2_200_000, True)])
def test_extended_xmp_is_kept_or_named(size, is_lost):
    picture = read_image(extended_xmp(size))
    assert (b"b" * size in picture.xmp) == (not is_lost)
    assert b'Rating="4"' in picture.xmp
    assert any("extended part of the XMP" in note for note in picture.notes) == is_lost


def raw_profile(kind, data):
    text = f"\n{kind}\n{len(data):8}\n{data.hex()}\n".encode()
    return b"tEXt", f"Raw profile type {kind}".encode() + b"\0" + text


def test_metadata_in_texts_of_imagemagick(tmp_path):
    exif = exif_of("<", ({0x010F: "maker"}, {}))
    iptc = b"\x1c\x02\x05\0\x05Title"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    content = png_with([raw_profile("exif", exif), raw_profile("xmp", xmp), raw_profile("iptc", iptc)])
    picture = read_image(content)
    assert b"maker" in picture.exif
    assert picture.xmp is not None
    assert iptc in picture.extra.photoshop
    assert picture.extra.texts == ()
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture, "png"))
    tags = exiftool(path)
    assert (tags["IPTC:ObjectName"], tags["IFD0:Make"]) == ("Title", "maker")
    assert losses("a.png", picture) == ()
    assert read_image(path).extra.photoshop == picture.extra.photoshop


def test_a_raw_profile_gives_way_to_the_chunk():
    content = png_with(
        [raw_profile("exif", exif_of("<", ({0x010F: "old"}, {}))), (b"eXIf", exif_of("<", ({0x010F: "new"}, {}))[6:])]
    )
    assert b"new" in read_image(content).exif


@pytest.mark.parametrize("damage", [b"", b"\nexif\n", b"\nexif\n  many\n00", b"\nexif\n  2\nzz"])
def test_damaged_raw_profiles_are_passed_over(damage):
    assert read_image(png_with([(b"tEXt", b"Raw profile type exif\0" + damage)])).exif is None


def test_light_levels_of_hdr_pngs():
    cicp, light = Cicp(9, 16), ((b"mDCV", bytes(range(24))), (b"cLLI", bytes(8)))
    content = png_with([(b"cICP", bytes((9, 16, 0, 1))), *light])
    picture = read_image(content)
    assert picture.extra.png_light == light
    found = dict(chunks_of(encode(picture, "png")))
    assert (found[b"mDCV"], found[b"cLLI"], found[b"cICP"]) == (bytes(range(24)), bytes(8), bytes((9, 16, 0, 1)))
    assert losses("a.avif", picture) == ("AVIF cannot hold HDR light levels",)
    assert cicp == picture.extra.cicp


def test_a_replaced_profile_replaces_the_codes():
    picture = read_image(png_with([(b"cICP", bytes((9, 16, 0, 1)))]))
    assert picture.icc_profile == profile_of(picture.extra.cicp, gray=False)
    other = rgb_profile(DISPLAY, 2.2, "other")
    content = encode(Picture(picture.pixels, other, extra=picture.extra), "png")
    assert b"cICP" not in content
    assert read_image(content).icc_profile == other


def test_narrow_range_samples_keep_their_mark_or_are_named():
    picture = read_image(png_with([(b"cICP", bytes((1, 13, 0, 0)))]))
    assert dict(chunks_of(encode(picture, "png")))[b"cICP"] == bytes((1, 13, 0, 0))
    assert "narrow-range samples" in losses("a.jpg", picture)[0]


def test_primaries_without_a_gamma_have_the_curve_of_srgb():
    points = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    picture = read_image(png_with([(b"cHRM", points)]))
    curve = np.frombuffer(picture.icc_profile[picture.icc_profile.index(b"curv") + 12 :][: 2 * 4096], ">u2")
    assert np.abs(curve / 65535 - srgb_curve()).max() < 1e-4
    found = dict(chunks_of(encode(picture, "png")))
    assert found[b"cHRM"] == points
    assert b"gAMA" not in found


def test_a_picture_in_several_parts_is_named():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS)])
    assert any("a second picture of the file (MPF)" in note for note in read_image(file.getvalue()).notes)


def test_sixteen_bits_that_become_eight_are_named():
    deep = Picture(PIXELS.astype(np.uint16) * 257)
    assert losses("a.jpg", deep) == ("JPEG cannot hold 16-bit samples",)
    assert losses("a.png", deep) == losses("a.tif", deep) == ()


def test_the_resolution_of_the_format_comes_before_that_of_the_exif():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(
        file, "JPEG", dpi=(300, 300), exif=exif_of("<", ({0x011A: 72.0, 0x011B: 72.0, 0x0128: 2}, {}))
    )
    assert read_image(file.getvalue()).dpi == (300, 300)
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "WEBP", exif=exif_of("<", ({0x011A: 72.0, 0x011B: 72.0, 0x0128: 2}, {})))
    assert read_image(file.getvalue()).dpi == (72, 72)


@pytest.mark.parametrize(("kind", "suffix"), [("BMP", ".bmp"), ("JPEG2000", ".jp2")])
def test_the_resolution_of_other_formats(kind, suffix):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, dpi=(300, 200))
    content = file.getvalue()
    if kind == "JPEG2000":
        resc = struct.pack(">I4s4H2b", 18, b"resc", 20000, 254, 30000, 254, 2, 2)
        content = _in_header(content, struct.pack(">I4s", 8 + len(resc), b"res ") + resc)
    assert read_image(content).dpi == pytest.approx((300, 200), abs=0.06)


def _in_header(content, box):
    """A JPEG 2000 with one more box in its header."""
    at = content.index(b"jp2h") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    return content[:at] + struct.pack(">I", size + len(box)) + content[at + 4 : at + size] + box + content[at + size :]


def test_exif_and_xmp_of_jpeg_2000():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG2000")
    content = file.getvalue()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    exif = exif_of("<", ({0x010F: "maker"}, {}))
    more = struct.pack(">I4s16s", 24 + len(xmp), b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac")) + xmp
    more += struct.pack(">I4s16s", 24 + len(exif) - 6, b"uuid", b"JpgTiffExif->JP2") + exif[6:]
    at = content.index(b"jp2c") - 4
    picture = read_image(content[:at] + more + content[at:])
    assert b"maker" in picture.exif
    assert picture.xmp is not None


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def test_the_subject_of_a_turned_tiff_turns():
    """The orientation of a TIFF stands beside its EXIF, not in it."""
    exif = exif_of("<", ({0x010F: "maker"}, {0x9214: (10, 4)}))
    content = with_tag(encode(Picture(PIXELS, exif=exif), "tif"), 0x0112, 6)
    turned = Image.Exif()
    turned.load(read_image(content).exif)
    assert turned.get_ifd(0x8769)[0x9214] == (HIGH - 4, 10)


def with_tag(content, tag, value):
    """A TIFF with another short number in its first directory."""
    changed, first = bytearray(content), int.from_bytes(content[4:8], "little")
    for at in range(first + 2, first + 2 + 12 * int.from_bytes(content[first : first + 2], "little"), 12):
        if int.from_bytes(content[at : at + 2], "little") == tag:
            changed[at + 8 : at + 12] = struct.pack("<I", value)
            return bytes(changed)
    raise KeyError(tag)


def test_rational_polynomials_follow_the_size():
    terms = np.arange(92, dtype=np.float64)
    content = tiff(PIXELS, photometric="rgb", extratags=[(50844, 12, 92, tuple(terms), True)])
    picture = read_image(content)
    large = Picture(PIXELS.repeat(2, 0).repeat(2, 1), extra=picture.extra)
    found = np.array(tifffile.TiffFile(io.BytesIO(encode(large, "tif"))).pages[0].tags[50844].value)
    assert found[2:4].tolist() == [4.5, 6.5]  # a pixel's centre stays where it is
    assert found[7:9].tolist() == [14, 16]
    rest = [index for index in range(92) if index not in (2, 3, 7, 8)]
    np.testing.assert_array_equal(found[rest], terms[rest])
    assert losses("a.png", picture) == ("PNG cannot hold GeoTIFF tags",)


def test_metadata_of_gdal_alone_is_kept():
    content = tiff(PIXELS, photometric="rgb", extratags=[(42112, 2, 0, "<GDALMetadata/>", True)])
    tags = tifffile.TiffFile(io.BytesIO(encode(read_image(content), "tif"))).pages[0].tags
    assert tags[42112].value == "<GDALMetadata/>"


@pytest.mark.parametrize(("tag", "value"), [(258, 12), (258, 10), (258, 64), (262, 32844), (262, 32845)])
def test_healthy_tiffs_that_cannot_be_read_are_not_called_damaged(tag, value):
    content = with_tag(tiff(PIXELS[..., 0], photometric="minisblack"), tag, value)
    with pytest.raises(ImageFileError) as caught:
        read_image(content)
    assert "; convert it" in str(caught.value)
    assert "corrupt" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({259: 33333}, "compressed with scheme 33333"),
        ({322: 60000}, "tile size out of range"),
    ],
)
def test_tiles_that_no_library_reads(changes, reason):
    content = tiff(PIXELS, photometric="rgb", compression="zstd", tile=(16, 16))
    for tag, value in changes.items():
        content = with_tag(content, tag, value)
    with pytest.raises(ImageFileError, match=f"TIFF that cannot be read .*{reason}"):
        read_image(content)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp", "avif"])
def test_the_size_of_a_file_that_ends_in_its_header(kind):
    with pytest.raises(ImageFileError, match="truncated or corrupt"):
        read_size(encode(Picture(PIXELS), kind)[:30])


ENCODERS = {"jpegxl": imagecodecs.jpegxl_encode, "jpeg2000": imagecodecs.jpeg2k_encode}
LOSSLESS = {"jpegxl": {"lossless": True}, "jpeg2000": {"reversible": True, "codecformat": "j2k"}}


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("codec", ENCODERS)
def test_samples_that_a_tiff_and_its_codec_call_differently_deep(codec, bits):
    """Those of fewer bits came out nearly black."""
    pixels = PIXELS if bits == 8 else PIXELS.astype(np.uint16) * ((1 << bits) - 1 >> 8)
    stream = ENCODERS[codec](pixels, bitspersample=bits, **LOSSLESS[codec])
    for dtype in (np.uint8, np.uint16):
        file = io.BytesIO()
        tifffile.imwrite(file, iter([stream]), shape=PIXELS.shape, dtype=dtype, photometric="rgb", compression=codec)
        if bits == np.dtype(dtype).itemsize * 8:
            np.testing.assert_array_equal(read_image(file.getvalue()).pixels, pixels)
        else:
            with pytest.raises(ImageFileError, match=rf"as {bits}-bit samples, although it says .*; convert it"):
                read_image(file.getvalue())


def test_alpha_is_not_inverted_where_white_is_zero():
    pixels = np.dstack([PIXELS[..., 0], np.full((HIGH, WIDE), 200, np.uint8)])
    content = tiff(
        pixels, photometric="miniswhite", compression="zstd", extrasamples=["unassalpha"], planarconfig="contig"
    )
    picture = read_image(content)
    np.testing.assert_array_equal(picture.pixels[..., 0], 255 - PIXELS[..., 0])
    assert (picture.pixels[..., 1] == 200).all()


def test_a_long_profile_takes_no_longer_than_its_bytes():
    """Its segments were parsed again for every buffer of the encoder."""
    size = 12_000_000
    profile = bytearray(rgb_profile(DISPLAY, 2.2, "long"))
    profile[:4] = size.to_bytes(4, "big")
    profile = bytes(profile).ljust(size, b"\0")
    start = time.perf_counter()
    content = encode(Picture(PIXELS, profile), "jpeg")
    assert time.perf_counter() - start < 2
    assert read_image(content).icc_profile == profile
