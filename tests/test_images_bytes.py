"""Images as bytes and streams: the same door as for files."""

import io
import sys

import numpy as np
import pytest

from adadsr.errors import ImageFileError, InputError
from adadsr.formats import FORMATS
from adadsr.images import Picture, encode, read_image, read_size, write_image
from image_samples import SRGB, exif_block, noise, smooth

NAMES = [row.name for row in FORMATS]
PICTURE = Picture(smooth(), SRGB, exif_block(), b"<x:xmpmeta/>", (300.0, 150.0))


def assert_same(one, other):
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.icc_profile == other.icc_profile
    assert (one.exif, one.xmp, one.dpi) == (other.exif, other.xmp, other.dpi)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quality", [None, 60, 100])
def test_encoded_bytes_are_those_of_the_file(tmp_path, name, quality):
    path = tmp_path / f"a.{name.lower()}"
    write_image(path, PICTURE, quality=quality)
    content = encode(PICTURE, name, quality=quality)
    assert isinstance(content, bytes)
    assert content == path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_bytes_streams_and_files_give_one_picture(tmp_path, name):
    content = encode(PICTURE, name)
    path = tmp_path / f"a.{name.lower()}"
    path.write_bytes(content)
    expected = read_image(path)
    for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        assert_same(read_image(source), expected)
    with open(path, "rb") as file:
        assert_same(read_image(file), expected)
    assert read_size(content) == read_size(io.BytesIO(content)) == (48, 64)


def test_a_stream_is_read_from_where_it_stands_and_may_be_unable_to_seek():
    class Pipe(io.RawIOBase):
        def __init__(self, content):
            self.content = io.BytesIO(content)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.content.readinto(buffer)

    content = encode(PICTURE, "tiff")
    assert_same(read_image(io.BufferedReader(Pipe(content))), read_image(content))
    stream = io.BytesIO(b"before" + content)
    stream.seek(6)
    assert read_image(stream).width == 64


def test_bytes_that_change_later_do_no_harm():
    content = bytearray(encode(PICTURE, "png"))
    picture = read_image(content)
    content[:] = bytes(len(content))
    assert_same(picture, read_image(encode(PICTURE, "png")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "<bytes>: empty file; pass an image"),
        (io.BytesIO(), "<file>: empty file; pass an image"),
        (
            b"text",
            "<bytes>: the content is not PNG, JPEG, WebP, TIFF, AVIF, GIF, PPM, BMP, HEIC, JPEG 2000 or JPEG XL; "
            "convert it to one of these",
        ),
    ],
)
def test_bad_bytes(source, message):
    with pytest.raises(ImageFileError) as caught:
        read_image(source)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", NAMES)
def test_truncated_bytes(name):
    content = encode(Picture(noise((24, 31, 3))), name)
    for size in np.linspace(1, len(content) - 13, 10).astype(int):
        with pytest.raises(ImageFileError, match="<bytes>: "):
            read_image(content[:size])


def test_a_file_is_named_and_its_suffix_does_not_count(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(PICTURE, "png"))
    with open(tmp_path / "a.jpg", "rb") as file:
        assert read_image(file).width == 64
    (tmp_path / "a.png").write_bytes(b"text")
    with open(tmp_path / "a.png", "rb") as file, pytest.raises(ImageFileError, match=f"{tmp_path}/a.png: the content"):
        read_image(file)


def test_the_limit_holds_for_bytes():
    with pytest.raises(ImageFileError, match="<bytes>: 64x48 is over the limit"):
        read_image(encode(PICTURE, "png"), max_pixels=48 * 64 - 1)


@pytest.mark.parametrize("source", [3, None, [b"x"], io.StringIO("text"), sys])
def test_other_sources_are_refused(source):
    with pytest.raises(InputError, match="expected a path, bytes or a file open in binary mode, got "):
        read_image(source)


def test_what_a_format_cannot_hold_is_refused():
    with pytest.raises(ImageFileError) as caught:
        encode(Picture(noise((4, 4, 4))), "jpg")
    assert (
        str(caught.value)
        == "JPEG cannot hold transparency; write PNG, WebP, TIFF or AVIF, or flatten it (--background)"
    )
    with pytest.raises(ImageFileError) as caught:
        encode(Picture(np.zeros((1, 16384, 1), np.uint8)), ".webp")
    assert str(caught.value) == "16384x1 exceeds WebP's limit of 16383 pixels per side; write PNG or TIFF"
    with pytest.raises(InputError, match="'bmp' is not an image format"):
        encode(PICTURE, "bmp")
    with pytest.raises(InputError, match="quality=0 must be from 1"):
        encode(PICTURE, "png", quality=0)
