"""Which images make a data set, and what is said where they do not."""

import re

import numpy as np
import pytest

from adadsr.errors import DatasetError, ImageFileError
from adadsr.evaluation.benchmark import find_folder, load_pair, open_benchmark
from adadsr.images import read_image
from adadsr.resize import bicubic_downscale
from evaluation_samples import make_dataset, pixels, write


def open_pairs(folder, scale=2):
    benchmark = open_benchmark(folder, scale)
    return benchmark, [load_pair(sample, scale) for sample in benchmark.samples]


def test_lr_is_made_from_hr_cropped_to_a_multiple_of_the_scale(tmp_path):
    folder = make_dataset(tmp_path / "Mine")
    benchmark, pairs = open_pairs(folder, 3)
    assert benchmark.name == "Mine"
    assert [sample.name for sample in benchmark.samples] == ["a", "b"]
    hr = read_image(folder / "HR" / "b.png").pixels[:33, :36]
    np.testing.assert_array_equal(pairs[1].hr, hr)
    np.testing.assert_array_equal(pairs[1].lr, bicubic_downscale(np.ascontiguousarray(hr), 3))
    assert (benchmark.samples[1].height, benchmark.samples[1].width) == (11, 12)


def test_images_may_lie_in_the_folder_itself(tmp_path):
    write(tmp_path / "one.png", pixels(30, 30))
    write(tmp_path / "two.webp", pixels(30, 30))
    (tmp_path / "notes.txt").write_text("not an image")
    assert [sample.name for sample in open_benchmark(tmp_path, 2).samples] == ["one", "two"]


@pytest.mark.parametrize("lr_name", ["ax2.png", "a.png", "a_LRBI_x2.png"])
def test_lr_of_the_folder_is_used(tmp_path, lr_name):
    hr = pixels(40, 48)
    write(tmp_path / "HR_jpg" / "a.png", hr)
    lr = np.full((20, 24, 3), 77, np.uint8)
    write(tmp_path / "LR_bicubic" / "X2" / lr_name, lr)
    _, pairs = open_pairs(tmp_path)
    np.testing.assert_array_equal(pairs[0].lr, lr)
    np.testing.assert_array_equal(open_pairs(tmp_path, 4)[1][0].lr, bicubic_downscale(hr, 4))


def test_gray_becomes_three_equal_channels(tmp_path):
    gray = pixels(30, 32, channels=1)
    write(tmp_path / "gray.png", gray)
    _, (pair,) = open_pairs(tmp_path)
    np.testing.assert_array_equal(pair.hr, np.repeat(gray, 3, axis=2))
    assert pair.lr.shape == (15, 16, 3)
    assert pair.is_gray


def test_digest_follows_the_pixels_of_both_sizes(tmp_path):
    first = open_benchmark(make_dataset(tmp_path / "one", with_lr=True), 2).samples[0].digest
    assert open_benchmark(make_dataset(tmp_path / "two"), 2).samples[0].digest == first
    write(tmp_path / "one" / "LR_bicubic" / "X2" / "ax2.png", pixels(20, 24, 5))
    assert open_benchmark(tmp_path / "one", 2).samples[0].digest != first


def test_hidden_files_are_not_images(tmp_path):
    write(tmp_path / "HR" / "a.png", pixels(40, 48))
    (tmp_path / "HR" / "._a.png").write_bytes(b"what macOS leaves beside a file")
    assert [sample.name for sample in open_benchmark(tmp_path, 2).samples] == ["a"]


def test_no_option_is_advised_that_the_command_lacks(tmp_path):
    write(tmp_path / "a.png", pixels(40, 48))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    with pytest.raises(ImageFileError, match=r"a\.png: truncated or corrupt PNG \(.*\); get a complete copy$"):
        open_benchmark(tmp_path, 2)


def test_all_unusable_files_are_named_at_once(tmp_path):
    write(tmp_path / "a.png", pixels(40, 48))
    write(tmp_path / "b.png", pixels(4, 4))
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="2 of 3 images cannot be used") as caught:
        open_benchmark(tmp_path, 2)
    for name in ("b.png", "c.png"):
        assert f"\n  {tmp_path / name}: " in str(caught.value)


def test_names_are_found_below_the_root_in_any_case(tmp_path):
    (tmp_path / "Set5").mkdir()
    assert find_folder("set5", tmp_path) == tmp_path / "Set5"
    assert find_folder(str(tmp_path), tmp_path / "Set5") == tmp_path


def test_unknown_name_lists_what_is_there(tmp_path):
    (tmp_path / "Set5").mkdir()
    (tmp_path / "B100").mkdir()
    with pytest.raises(DatasetError, match=re.escape(f"Sett5: unknown data set; {tmp_path} contains B100, Set5; ")):
        find_folder("Sett5", tmp_path)
    with pytest.raises(DatasetError, match=r"Manga109: unknown data set \(known, but not downloaded\)"):
        find_folder("Manga109", tmp_path)
    with pytest.raises(DatasetError, match="contains no folders"):
        find_folder("Set5", tmp_path / "Set5")


def fails(folder, text, scale=2, error=DatasetError):
    with pytest.raises(error) as caught:
        open_benchmark(folder, scale)
    assert str(caught.value).startswith(text), str(caught.value)


def test_empty_folder(tmp_path):
    fails(tmp_path, f"{tmp_path}: no images (")
    (tmp_path / "HR").mkdir()
    fails(tmp_path, f"{tmp_path / 'HR'}: no images (")


def test_lr_that_does_not_fit(tmp_path):
    folder = make_dataset(tmp_path, with_lr=True)
    lr_path = folder / "LR_bicubic" / "X2" / "bx2.png"
    write(lr_path, pixels(16, 19))
    fails(folder, f"{lr_path}: 19x16 does not match {folder / 'HR' / 'b.png'}, which needs 18x16 at x2;")


def test_lr_that_is_missing_or_left_over(tmp_path):
    folder = make_dataset(tmp_path, with_lr=True)
    lr_folder = folder / "LR_bicubic" / "X2"
    write(lr_folder / "zx2.png", pixels(20, 20))
    fails(folder, f"{lr_folder / 'zx2.png'}: no HR image belongs to it;")
    (lr_folder / "bx2.png").unlink()
    with pytest.raises(DatasetError) as caught:
        open_benchmark(folder, 2)
    assert str(caught.value).splitlines() == [
        f"{lr_folder}: does not match its HR images:",
        f"  {lr_folder}: no LR image for b, such as bx2.png; add it",
        f"  {lr_folder / 'zx2.png'}: no HR image belongs to it; remove it, or add the HR image",
    ]
    (lr_folder / "zx2.png").unlink()
    fails(folder, f"{lr_folder}: no LR image for b, such as bx2.png;")


def test_image_too_small_for_ssim(tmp_path):
    write(tmp_path / "small.png", pixels(15, 40))
    fails(tmp_path, f"{tmp_path / 'small.png'}: 40x14 is too small for SSIM after shaving 2 pixels; needs 15x15")
    write(tmp_path / "small.png", pixels(16, 40))
    assert len(open_benchmark(tmp_path, 2).samples) == 1
    fails(tmp_path, f"{tmp_path / 'small.png'}: ", scale=3)
    write(tmp_path / "small.png", pixels(2, 40))
    fails(tmp_path, f"{tmp_path / 'small.png'}: 40x2 is too small for x4", scale=4)


def test_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "x.png"
    write(path, pixels(30, 30).astype(np.uint16) * 257)
    fails(tmp_path, f"{path}: has 16 bits;")
    write(path, np.zeros((30, 30, 4), np.uint8))
    fails(tmp_path, f"{path}: is transparent;")
    path.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    fails(tmp_path, f"{path}: ", error=ImageFileError)
    write(path, pixels(30, 30))
    write(tmp_path / "x.jpg", pixels(30, 30))
    fails(tmp_path, f"{path}: x.jpg has the same name;")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_real_benchmarks(shared_data, scale):
    folder = shared_data / "eval" / "Set5"
    benchmark, pairs = open_pairs(folder, scale)
    assert [sample.name for sample in benchmark.samples] == ["baby", "bird", "butterfly", "head", "woman"]
    assert all(sample.lr_path is not None for sample in benchmark.samples)
    for pair in pairs:  # the folder's LR is what would be made
        np.testing.assert_array_equal(pair.lr, bicubic_downscale(pair.hr, scale))
