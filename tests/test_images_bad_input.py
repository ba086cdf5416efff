"""Image files, arrays and Pillow images that are refused."""

import contextlib
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image

from adadsr.errors import ImageFileError, InputError
from adadsr.formats import READABLE_SUFFIXES, input_format_of
from adadsr.images import Picture, encode, picture_from_array, picture_from_pil, read_image, write_image
from adadsr.images._vips import no_warnings
from image_samples import SUFFIXES, noise, smooth


def refusal(path, **options):
    with pytest.raises(ImageFileError) as caught:
        read_image(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "; " in text  # what to do about it
    return text


def test_missing_path(tmp_path):
    assert "no such file" in refusal(tmp_path / "a.png")
    assert "no such file" in refusal(tmp_path / "nowhere" / "a.png")


def test_folder_pipe_and_impossible_name(tmp_path):
    (tmp_path / "a.png").mkdir()
    assert "folder" in refusal(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert "not a regular file" in refusal(tmp_path / "b.png")
    assert "cannot open" in refusal("a\0.png")


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert "empty" in refusal(tmp_path / "a.png")


def test_png_without_pixels(tmp_path):
    """libvips names only the call that failed, which is no reason."""
    path = tmp_path / "a.png"
    write_image(path, Picture(noise((5, 7, 3))))
    data = bytearray(path.read_bytes())
    data[16:20] = bytes(4)  # the width
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    assert "truncated or corrupt PNG (libvips gives no reason)" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"plain text", b"BM" + bytes(50), b"P3 1 1 255 0", b"<svg/>", b"%PDF-1.4", bytes(99)]
)
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".gif", ""])
def test_not_an_image(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    known = "PNG, JPEG, WebP, TIFF, AVIF, GIF, PPM, BMP, HEIC, JPEG 2000 or JPEG XL"
    assert refusal(path) == f"{path}: the content is not {known}; convert it to one of these"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("other", [*READABLE_SUFFIXES, ".txt", ""])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, suffix, other):
    path = tmp_path / f"photo{suffix}"
    write_image(path, Picture(noise((8, 8, 3))))
    expected = read_image(path).pixels
    content = input_format_of(suffix)
    wrong = path.rename(tmp_path / f"photo{other}")
    if (suffix, other) == (".tif", ".txt"):
        assert ".txt files cannot be read" in refusal(wrong)
        return
    picture = read_image(wrong)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert len(picture.notes) == (other not in content.suffixes and other != "")


def test_the_exact_note_about_a_name(tmp_path):
    write_image(tmp_path / "photo.png", Picture(noise((8, 8, 3))))
    path = (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")
    assert read_image(path).notes == ("the content is PNG, not JPEG as its name says",)


@pytest.mark.parametrize("suffix", [".dng", ".nef", ".cr2", ".arw"])
def test_raw_files_are_refused_although_they_are_tiffs(tmp_path, suffix):
    write_image(tmp_path / "photo.tif", Picture(noise((8, 8, 3))))
    raw = (tmp_path / "photo.tif").rename(tmp_path / f"photo{suffix}")
    assert f"{suffix} files cannot be read" in refusal(raw)
    assert read_image(raw.rename(tmp_path / "photo")).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_truncated_anywhere(tmp_path, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(noise((24, 31, 3), dtype)))
    whole = path.read_bytes()
    # A PNG without its last 12 bytes has all its pixels and only lacks the end mark.
    last = len(whole) - (13 if suffix == ".png" else 1)
    for size in np.linspace(1, last, 40).astype(int):
        path.write_bytes(whole[:size])
        refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_after_the_end_do_no_harm(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(noise((8, 8, 3))))
    pixels = read_image(path).pixels
    with open(path, "ab") as file:
        file.write(bytes(100))
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


def test_damaged_png(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Picture(noise((24, 31, 3))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert "truncated or corrupt PNG" in refusal(path)


def test_zero_width(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Picture(noise((2, 2, 3))))
    data = bytearray(path.read_bytes())
    data[16:20] = bytes(4)
    path.write_bytes(data)
    refusal(path)


def test_oversized_is_refused_by_the_header_alone(tmp_path):
    path = tmp_path / "photo.png"
    pyvips.Image.black(30000, 20000).copy(interpretation="b-w").pngsave(str(path), compression=9)
    start = time.process_time()
    assert refusal(path) == (f"{path}: 30000x20000 is over the limit of 178 megapixels; pass --max-pixels to allow it")
    assert time.process_time() - start < 0.5
    path.write_bytes(path.read_bytes()[:300])  # the pixels are not even there
    assert "over the limit" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_limit_is_inclusive_and_adjustable(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(noise((10, 20, 3))))
    assert read_image(path, max_pixels=200).width == 20
    assert "20x10 is over the limit of 0.000199 megapixels" in refusal(path, max_pixels=199)
    with pytest.raises(InputError, match="at least 1"):
        read_image(path, max_pixels=0)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".webp", "has 3 frames; write an animation as PNG, WebP or GIF"),
        (".png", "has 3 frames; write an animation as PNG, WebP or GIF"),
        (".tif", "has 3 pages; pass --page to choose one"),
        (".avif", "is animated; only still images are supported"),
    ],
)
def test_animated_files_are_refused(tmp_path, suffix, message):
    assert message in refusal(several_in(tmp_path / f"a{suffix}"))


def several_in(path):
    """A file of three frames or pages."""
    frames = [Image.fromarray(noise((8, 8, 3)) // n) for n in (1, 2, 3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def damaged(path):
    """A PNG without the end of its pixels."""
    write_image(path, Picture(noise((30, 20, 3))))
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize(
    ("make", "name", "limit", "option", "said"),
    [
        (several_in, "a.webp", None, "--page", "a.webp: has 3 frames; extract one frame"),
        (several_in, "a.tif", None, "--page", "a.tif: has 3 pages; extract one page"),
        (damaged, "a.png", None, "--accept-damaged", r"a.png: truncated or .* \(.*\); get a complete copy"),
        (damaged, "a.png", 9, "--max-pixels", "a.png: 20x30 is over the limit of .*; shrink it"),
    ],
)
def test_only_options_that_a_command_has_are_advised(tmp_path, make, name, limit, option, said):
    with pytest.raises(ImageFileError) as caught:
        read_image(make(tmp_path / name), **({} if limit is None else {"max_pixels": limit}))
    error = caught.value
    assert option in str(error)
    assert str(error.for_options([option])) == str(pickle.loads(pickle.dumps(error))) == str(error)
    assert re.fullmatch(f".*{said}", str(error.for_options()))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_that_are_not_8_or_16_bit(tmp_path, dtype):
    Image.fromarray(noise((8, 8)).astype(dtype)).save(tmp_path / "a.tif")
    assert "8- and 16-bit samples are supported" in refusal(tmp_path / "a.tif")


def test_too_many_channels_and_other_colour_spaces(tmp_path):
    path = str(tmp_path / "a.tif")
    samples = noise((4, 5, 6))
    pyvips.Image.new_from_memory(samples.data, 5, 4, 6, "uchar").copy(interpretation="srgb").tiffsave(path)
    assert "6 channels" in refusal(path)
    pyvips.Image.new_from_memory(samples[..., :3].copy().data, 5, 4, 3, "uchar").colourspace("labs").tiffsave(path)
    refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_damage_never_gives_another_error(tmp_path, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(noise((24, 31, 3)), exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(40)))
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ImageFileError):
            read_image(path, max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("exif", [b"", b"x", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 100])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_exif_does_not_stop_a_picture(tmp_path, exif, suffix, capfd):
    write_image(tmp_path / f"a{suffix}", Picture(noise((4, 5, 3)), exif=exif))
    assert read_image(tmp_path / f"a{suffix}").width == 5
    assert capfd.readouterr() == ("", "")


def test_no_warning_of_libvips_is_printed(tmp_path):
    """Not even by a program that prints warnings; pytest takes over logging, so another interpreter shows it."""
    script = (
        "import logging, sys, numpy as np; from adadsr.images import Picture, read_image, write_image\n"
        "logging.basicConfig()\n"
        "sys.path.insert(0, sys.argv.pop(1)); from image_samples import SRGB\n"
        "profile = SRGB[:20] + b'ABCD' + SRGB[24:]  # libpng leaves this one out with a warning\n"
        "picture = Picture(np.zeros((4, 5, 3), np.uint8), profile, exif=b'x' * 100, xmp=bytes(70000))\n"
        "for path in sys.argv[1:]: write_image(path, picture); read_image(path)"
    )
    paths = [str(tmp_path / f"a{suffix}") for suffix in SUFFIXES]
    command = [sys.executable, "-c", script, os.path.dirname(__file__), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_warning_comes_when_a_damaged_picture_is_freed(suffix, caplog):
    content = encode(Picture(noise((400, 500, 3))), suffix)
    for at in range(30, len(content), len(content) // 20):
        with contextlib.suppress(ImageFileError):
            read_image(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    assert caplog.messages == []


def test_warnings_of_others_are_left_alone(tmp_path, caplog):
    """Neither the level nor the filters of a logger are ours to change; a host may want to see its own warnings."""
    logger = logging.getLogger("pyvips")
    assert logger.level == logging.NOTSET

    @no_warnings()
    def ours():
        logger.warning("of this thread")
        logger.error("an error")
        other = threading.Thread(target=logger.warning, args=("of another thread",))
        other.start()
        other.join()
        write_image(tmp_path / "a.png", Picture(noise((4, 5, 3)), exif=b"x" * 100))

    ours()
    logger.warning("after it")
    assert caplog.messages == ["an error", "of another thread", "after it"]
    assert not logger.filters


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((4, 4), np.int16),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        [[1, 2], [3, 4]],
    ],
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(
        InputError, match=r"expected (a numpy array|uint8 .* or uint16)|pass \(height, width, channels\)"
    ):
        picture_from_array(array)


def test_pillow_images_that_are_no_pictures():
    for image in (Image.new("F", (3, 3)), Image.new("LAB", (3, 3)), "photo.png"):
        with pytest.raises(InputError, match=r"unsupported Pillow mode|expected a Pillow image"):
            picture_from_pil(image)
    with pytest.raises(InputError, match=r"0\.\.65535"):
        picture_from_pil(Image.new("I", (3, 3), 70000))


def test_messages_of_libvips_that_are_not_text_do_not_spoil_later_ones():
    """pyvips failed to decode one that quotes the file, and for the rest of the process every other as well."""
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(20, 30)).save(turned, "AVIF", exif=exif)
    assert turned.getvalue().count(b"irot") == 1
    damaged = encode(Picture(smooth(20, 30)), "jpg")[:-100]
    for _ in range(2):
        with pytest.raises(ImageFileError, match="truncated or corrupt AVIF"):
            read_image(turned.getvalue().replace(b"irot", b"\xe9rot"))
        with pytest.raises(ImageFileError, match=r"truncated or corrupt JPEG .*premature end"):
            read_image(damaged)
