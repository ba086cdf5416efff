"""Training data: LR of whole images, the cache, batches of patches, and files that cannot be used."""

import errno
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from adadsr import datasets, images
from adadsr.datasets import Pair, PatchSampler, TrainingImages, cached_array, load_pairs
from adadsr.errors import DatasetError
from adadsr.formats import SUPPORTED_SUFFIXES
from adadsr.resize import bicubic_downscale
from training_samples import write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def sampler_of(pairs: list[Pair], scale: int, patch: int, seed: int = 0) -> PatchSampler:
    images = TrainingImages(pairs, scale, torch.device("cpu"))
    return PatchSampler(images, patch, torch.Generator().manual_seed(seed))


def test_pairs_are_the_bicubic_of_the_whole_image(folder: Path) -> None:
    pairs = load_pairs(folder, 2)
    assert [tuple(pair.hr.shape) for pair in pairs] == [(3, 40, 44), (3, 36, 50)]
    for pair in pairs:
        expected = bicubic_downscale(pair.hr.permute(1, 2, 0).numpy(), 2)
        np.testing.assert_array_equal(pair.lr.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("suffix", SUPPORTED_SUFFIXES)
def test_images_of_every_format_are_used(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (16, 12)).save(tmp_path / f"a{suffix}")
    (tmp_path / "notes.txt").write_text("no image")
    assert [tuple(pair.hr.shape) for pair in load_pairs(tmp_path, 2)] == [(3, 12, 16)]


def test_patches_of_lr_and_hr_show_the_same_position() -> None:
    pairs = []
    for height, width in ((40, 48), (24, 36)):
        hr = (torch.arange(3 * height * width) + 7 * width).reshape(3, height, width) % 251
        pairs.append(Pair(hr[:, ::2, ::2].byte(), hr.byte()))
    batch = sampler_of(pairs, 2, 6).batch(64)
    assert batch.lr.shape == (64, 3, 6, 6)
    assert batch.hr.shape == (64, 3, 12, 12)
    assert batch.hr.is_contiguous(memory_format=torch.channels_last)
    for small, large in zip(batch.lr, batch.hr, strict=True):
        corners = [large[:, top::2, left::2] for top in (0, 1) for left in (0, 1)]
        assert any(torch.equal(small, corner) for corner in corners)


def test_every_flip_rotation_and_position_occurs() -> None:
    image = torch.arange(3 * 6 * 6).reshape(3, 6, 6).byte()
    assert len({tuple(patch.flatten().tolist()) for patch in sampler_of([Pair(image, image)], 1, 6).batch(200).lr}) == 8
    plain = PatchSampler(
        TrainingImages([Pair(image, image)], 1, torch.device("cpu")), 6, torch.Generator(), augment=False
    )
    assert all(torch.equal(patch, image.float()) for patch in plain.batch(20).lr)
    corners = {int(patch.min()) for patch in sampler_of([Pair(image, image)], 1, 3).batch(500).lr}
    assert corners == {row * 6 + column for row in range(4) for column in range(4)}


def test_a_part_of_a_batch_is_what_the_whole_batch_has_there(folder: Path) -> None:
    pairs = load_pairs(folder, 2)
    whole = sampler_of(pairs, 2, 8).batch(6)
    for part in (slice(0, 3), slice(3, 6)):
        assert torch.equal(sampler_of(pairs, 2, 8).batch(6, part).hr, whole.hr[part])


def test_the_second_start_takes_lr_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    expected = load_pairs(folder, 2, cache)
    kept = sorted(cache.iterdir())
    assert len(kept) == 2
    kept[0].write_bytes(b"damaged")
    made = []
    monkeypatch.setattr(datasets, "bicubic_downscale", lambda hr, scale: made.append(1) or bicubic_downscale(hr, scale))
    again = load_pairs(folder, 2, cache)
    assert len(made) == 1
    assert all(torch.equal(one.lr, other.lr) for one, other in zip(expected, again, strict=True))
    Image.new("RGB", (44, 40)).save(folder / "a.png")  # other content under the same name
    assert not load_pairs(folder, 2, cache)[0].lr.any()


def test_photos_are_reduced_before_lr_is_made(folder: Path, tmp_path: Path) -> None:
    pairs = load_pairs(folder, 2, tmp_path / "cache", (1, 2, 3))
    assert [pair.reduction for pair in pairs] == [1, 2, 3, 1, 2, 3]
    assert [tuple(pair.hr.shape[1:]) for pair in pairs] == [(40, 44), (20, 22), (14, 14), (36, 50), (18, 26), (12, 16)]
    photo = np.asarray(Image.open(folder / "more" / "b.webp").convert("RGB"))
    for pair in pairs[4:]:
        reduced = bicubic_downscale(photo, pair.reduction)[: pair.hr.shape[1], : pair.hr.shape[2]].copy()
        np.testing.assert_array_equal(pair.hr.permute(1, 2, 0).numpy(), reduced)
        np.testing.assert_array_equal(pair.lr.permute(1, 2, 0).numpy(), bicubic_downscale(reduced, 2))


def test_a_second_start_resizes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_pairs(folder, 2, tmp_path / "cache", (1, 2))
    monkeypatch.setattr(datasets, "bicubic_downscale", None)
    for one, other in zip(expected, load_pairs(folder, 2, tmp_path / "cache", (1, 2)), strict=True):
        assert torch.equal(one.lr, other.lr)
        assert torch.equal(one.hr, other.hr)


def test_a_photo_is_used_at_the_reductions_that_it_is_large_enough_for(folder: Path) -> None:
    Image.new("RGB", (5, 4)).save(folder / "small.png")
    reductions = [pair.reduction for pair in load_pairs(folder, 2, None, (1, 2, 3))]
    assert [reductions.count(reduction) for reduction in (1, 2, 3)] == [3, 3, 2]
    with pytest.raises(DatasetError, match=r"small\.png: 5x4 is too small for x2 at 1/3 of its size"):
        load_pairs(folder, 2, None, (3,))


def test_a_reduction_that_is_too_much_for_all_photos_is_named(folder: Path) -> None:
    remedy = "drop that reduction from the recipe or use larger images"
    with pytest.raises(DatasetError, match=f"no image is large enough for x4 at 1/12 of its size; {remedy}"):
        load_pairs(folder, 4, None, (1, 12))
    with pytest.raises(DatasetError, match=f"all LR images at 1/3 of their size are smaller than patch=8; {remedy}"):
        sampler_of(load_pairs(folder, 2, None, (1, 3)), 2, 8)
    others = "use a smaller patch, a smaller reduction or larger images"
    with pytest.raises(DatasetError, match=f"all LR images at 1/3 of their size are smaller than patch=8; {others}"):
        sampler_of(load_pairs(folder, 2, None, (3,)), 2, 8)


def test_each_reduction_is_drawn_as_often() -> None:
    """Although the full size has most of the pixels."""
    pairs = []
    for reduction, size in ((1, 40), (1, 80), (2, 20), (3, 12)):
        image = torch.full((3, size, size), reduction, dtype=torch.uint8)
        pairs.append(Pair(image, image, reduction=reduction))
    drawn = sampler_of(pairs, 1, 4).batch(3000).lr[:, 0, 0, 0]
    for reduction in (1, 2, 3):
        assert float((drawn == reduction).float().mean()) == pytest.approx(1 / 3, abs=0.03)


def test_targets_are_cut_where_the_photo_is() -> None:
    hr = torch.arange(3 * 24 * 36).reshape(3, 24, 36) % 251
    batch = sampler_of([Pair(hr[:, ::2, ::2].byte(), hr.byte(), hr.half() + 0.25)], 2, 6).batch(16)
    assert batch.target is not None
    assert torch.equal(batch.target, batch.hr + 0.25)


def test_a_cache_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file.*: folder is not writable \(.*\); choose another --cache"):
        load_pairs(folder, 2, tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("3072 requested and 1024 written"), "No space left on device: 3072 requested and 1024 written"),
    ],
    ids=["system", "numpy"],
)
def test_a_full_cache_says_so(error: OSError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(DatasetError) as caught:
        cached_array(tmp_path, "a", (2,), np.uint8, lambda: np.zeros(2, np.uint8))
    assert str(caught.value) == f"{tmp_path}: cannot write ({said}); free some space or choose another --cache"


def test_all_unusable_files_are_named_at_once(folder: Path) -> None:
    Image.new("RGB", (9, 1)).save(folder / "thin.png")
    (folder / "broken.png").write_bytes(b"no image")
    whole = (folder / "a.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="3 of 5 images cannot be used; remove or replace them") as caught:
        load_pairs(folder, 2)
    for expected in ("thin.png: 9x1 is too small for x2", "broken.png: cannot be decoded", "short.png: cannot be"):
        assert expected in str(caught.value)


def test_hidden_files_are_not_images(folder: Path) -> None:
    before = len(load_pairs(folder, 2))
    (folder / ".cache").mkdir()
    for name in ("._a.png", ".cache/b.png"):
        (folder / name).write_bytes(b"what macOS leaves beside a file")
    assert len(load_pairs(folder, 2)) == before


def test_unusable_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no images \(\.png, .*\.jp2, .*\) found; pass a folder"):
        load_pairs(tmp_path / "empty", 2)
    with pytest.raises(DatasetError, match="nowhere: does not exist; pass a folder"):
        load_pairs(tmp_path / "nowhere", 2)
    with pytest.raises(DatasetError, match=r"a\.png: is not a folder; pass a folder"):
        load_pairs(folder / "a.png", 2)
    with pytest.raises(DatasetError, match=r"^all LR images are smaller than patch=99; use a smaller patch or larger"):
        sampler_of(load_pairs(folder, 2), 2, 99)


@pytest.mark.parametrize(("mode", "value"), [("I;16", 4000), ("F", 0.5)])
def test_samples_that_are_not_of_8_bits_are_refused(tmp_path: Path, mode: str, value: float) -> None:
    Image.new(mode, (16, 16), value).save(tmp_path / "deep.tif")
    with pytest.raises(DatasetError, match=r"deep\.tif: has more than 8 bits a sample; training needs 8"):
        load_pairs(tmp_path, 2)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "planes.tif", "a.ppm", "a.jp2", "a.j2k", "a.avif"])
def test_only_color_of_8_bits_is_used(tmp_path: Path, name: str) -> None:
    """Pillow would open deeper samples, as 8 bits."""
    write_color(tmp_path / name, np.full((16, 16, 3), 40, np.uint8))
    assert len(load_pairs(tmp_path, 2)) == 1
    write_color(tmp_path / name, np.full((16, 16, 3), 4000, np.uint16))
    with pytest.raises(DatasetError, match=rf"{name}: has more than 8 bits a sample"):
        load_pairs(tmp_path, 2)


def write_color(path: Path, pixels: np.ndarray) -> None:
    """Colour (H, W, 3) in a file that has as many bits a sample; in AVIF 12 instead of 16."""
    if path.suffix == ".ppm":
        top = np.iinfo(pixels.dtype).max
        path.write_bytes(f"P6 {pixels.shape[1]} {pixels.shape[0]} {top}\n".encode() + pixels.byteswap().tobytes())
    elif path.suffix in (".jp2", ".j2k"):
        path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat=path.suffix[1:]))
    elif path.name == "planes.tif":
        tifffile.imwrite(path, pixels.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    else:
        images.write_image(path, images.picture_from_array(pixels))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
def test_only_opaque_images_are_used(tmp_path: Path, name: str) -> None:
    image = Image.new("RGBA", (16, 16), (9, 99, 199, 255))
    image.save(tmp_path / name, lossless=True)
    assert len(load_pairs(tmp_path, 2)) == 1
    image.putpixel((3, 4), (0, 0, 0, 0))
    image.save(tmp_path / name, lossless=True)
    with pytest.raises(DatasetError, match=rf"{name}: is transparent in places"):
        load_pairs(tmp_path, 2)
