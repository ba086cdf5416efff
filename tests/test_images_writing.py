"""Outputs that cannot be written, and what an interrupted write leaves behind."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from adadsr.errors import ImageFileError, InputError
from adadsr.images import Facts, Picture, check_fits, check_writable, read_image, write_frames, write_image
from image_samples import SUFFIXES, noise

SMALL = Picture(noise((8, 8, 3)))


def write_refusal(path, picture, **options):
    with pytest.raises(ImageFileError) as caught:
        write_image(path, picture, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "; " in str(caught.value)
    return str(caught.value)


def test_where_nothing_can_be_written(tmp_path):
    assert "does not say which format" in write_refusal(tmp_path / "a.bmp", SMALL)
    assert "a name without a suffix" in write_refusal(tmp_path / "a", SMALL)
    assert "does not exist" in write_refusal(tmp_path / "nowhere" / "a.png", SMALL)
    (tmp_path / "b.png").mkdir()
    assert "folder" in write_refusal(tmp_path / "b.png", SMALL)
    write_image(tmp_path / "c.png", SMALL)
    assert "--overwrite" in write_refusal(tmp_path / "c.png", SMALL, overwrite=False)
    write_image(tmp_path / "c.png", SMALL, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["b.png", "c.png"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that takes no files")
def test_unwritable_folder():
    assert "cannot write" in write_refusal("/proc/self/a.png", SMALL)


@pytest.mark.parametrize(("name", "height", "width"), [("a.jpg", 65501, 1), ("a.webp", 1, 16384), ("a.avif", 16385, 1)])
def test_sides_that_a_format_cannot_hold(tmp_path, name, height, width):
    with pytest.raises(ImageFileError, match="write PNG or TIFF"):
        check_fits(tmp_path / name, height, width)
    longest = (max(height, width) - 1, 1)
    check_fits(tmp_path / name, *longest)
    write_image(tmp_path / name, Picture(np.zeros((*longest, 1), np.uint8)))
    assert read_image(tmp_path / name).height == longest[0]


def test_transparency_in_jpeg(tmp_path):
    pixels = noise((8, 8, 4))
    assert "cannot hold transparency" in write_refusal(tmp_path / "a.jpg", Picture(pixels))
    pixels[..., 3] = 255
    write_image(tmp_path / "a.jpg", Picture(pixels))
    assert read_image(tmp_path / "a.jpg").pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_outside_1_to_100(tmp_path, quality):
    with pytest.raises(InputError, match=r"1 .* to 100"):
        write_image(tmp_path / "a.jpg", SMALL, quality=quality)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix):
    """The limit on the size of a file stands in for a full disk: writes fail in the middle."""
    path = tmp_path / f"a{suffix}"
    write_image(path, SMALL)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        text = write_refusal(path, Picture(noise((200, 300, 3), np.uint16)), quality=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in text
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, failing, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ImageFileError):
        write_image(tmp_path / "a.png", SMALL)
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_while_frames_are_encoded_is_left_alone(tmp_path):
    path = tmp_path / "a.png"

    def frames():
        yield SMALL
        path.write_text("theirs")

    with pytest.raises(ImageFileError, match="already exists; pass --overwrite to replace it"):
        write_frames(path, frames(), Facts(8, 8, (100,), 0), overwrite=False)
    assert (path.read_text(), os.listdir(tmp_path)) == ("theirs", ["a.png"])


def test_a_name_that_is_too_long_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ImageFileError, match="the file name is too long; shorten it or the --suffix"):
        check_writable(tmp_path / f"{'a' * 252}.png")


def test_a_killed_run_leaves_no_file_under_the_name(tmp_path):
    script = (
        "import sys, numpy as np; from adadsr.images import Picture, write_image\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)\n"
        "while True: write_image(sys.argv[1], Picture(pixels)); print('done', flush=True)"
    )
    path = tmp_path / "a.png"
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as process:
        deadline = time.monotonic() + 60
        while not any(each.stat().st_size for each in tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 1
    assert not path.exists()


def test_a_new_file_gets_the_usual_permissions_and_a_link_stays_one(tmp_path):
    (tmp_path / "plain").touch()
    write_image(tmp_path / "a.png", SMALL)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.png").symlink_to("a.png")
    write_image(tmp_path / "link.png", Picture(noise((3, 3, 1))))
    assert (tmp_path / "link.png").is_symlink()
    assert read_image(tmp_path / "a.png").width == 3
