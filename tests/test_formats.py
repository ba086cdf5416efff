"""The table of file formats, and that it costs nothing to look at."""

import io
import subprocess
import sys

import numpy as np
import pytest
import pyvips

from adadsr import formats, images
from adadsr.errors import ImageFileError, InputError
from adadsr.formats import FORMATS, Encoding
from image_samples import noise

ROWS = pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)


@ROWS
def test_a_row_is_complete(row):
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in row.suffixes)
    assert row.is_lossless or 1 <= row.default_quality <= 100
    for operation in ("load_source", "save_target"):
        assert pyvips.type_find("VipsOperation", row.codec + operation)


@ROWS
def test_libvips_knows_the_options_of_each_row(row):
    pixels = noise((4, 4, 3), np.uint16 if row.bits > 8 else np.uint8)
    image = pyvips.Image.new_from_memory(pixels.data, 4, 4, 3, "ushort" if row.bits > 8 else "uchar")
    for quality in (1, 89, 90, 100):
        options = row.save_options(Encoding(quality, row.bits, 48))
        getattr(image.copy(interpretation="srgb"), f"{row.codec}save_target")(pyvips.Target.new_to_memory(), **options)


@ROWS
def test_a_format_recognises_its_own_files_and_no_others(row):
    content = images.encode(images.Picture(noise((5, 7, 3))), row.name)
    assert formats.recognise(content[: formats.HEAD_BYTES]) is row
    assert [each for each in FORMATS if each.matches(content)] == [row]
    assert not row.is_animated(io.BytesIO(content))


def test_formats_are_found_by_name_and_suffix_and_belong_to_one_row():
    for row in FORMATS:
        for name in (row.name, row.name.upper(), *row.suffixes, *(suffix[1:] for suffix in row.suffixes)):
            assert formats.find_format(name) is row
            assert formats.format_for_writing(f"a.b{row.suffixes[0].upper()}") is row
    with pytest.raises(InputError) as caught:
        formats.find_format("bmp")
    known = "png, apng, jpg, jpeg, jpe, jfif, webp, tif, tiff, avif or gif"
    assert str(caught.value) == f"'bmp' is not an image format; use {known}"
    with pytest.raises(ImageFileError, match=r"the suffix \.bmp does not say which format to write"):
        formats.format_for_writing("a.bmp")


def test_large_tiffs_get_offsets_of_64_bits():
    options = formats.find_format("tiff").save_options
    assert not options(Encoding(100, 8, 2**32 - 2**25))["bigtiff"]
    assert options(Encoding(100, 8, 2**32))["bigtiff"]


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_joined(names, text):
    assert formats.joined(names) == text


def test_the_table_needs_neither_numpy_nor_an_image_library():
    script = "import adadsr.formats, sys; print([name for name in ('numpy', 'pyvips', 'torch') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_images_need_no_torch():
    script = "import adadsr.depthview, adadsr.images, adadsr.metrics, adadsr.resize, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"
