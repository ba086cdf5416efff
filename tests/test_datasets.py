"""Training data: LR of whole images, the cache, patches cut out in batches, and files without use."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adadsr import datasets
from adadsr.datasets import Pair, PatchSampler, TrainingImages, load_pairs
from adadsr.errors import DatasetError
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


def test_patches_of_lr_and_hr_show_the_same_place() -> None:
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


def test_every_flip_and_turn_and_every_place_occur() -> None:
    image = torch.arange(3 * 6 * 6).reshape(3, 6, 6).byte()
    assert len({tuple(patch.flatten().tolist()) for patch in sampler_of([Pair(image, image)], 1, 6).batch(200).lr}) == 8
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


def test_a_cache_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file.*: cannot be written: .*; choose another --cache"):
        load_pairs(folder, 2, tmp_path / "file" / "cache")


def test_all_files_without_use_are_named_at_once(folder: Path) -> None:
    Image.new("RGB", (9, 1)).save(folder / "thin.png")
    (folder / "broken.png").write_bytes(b"no image")
    whole = (folder / "a.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="3 of 5 images cannot be used; remove or replace them") as caught:
        load_pairs(folder, 2)
    for expected in ("thin.png: 9x1 pixels are too few for x2", "broken.png: cannot be read", "short.png: cannot be"):
        assert expected in str(caught.value)


def test_folders_without_use_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images"):
        load_pairs(tmp_path / "empty", 2)
    with pytest.raises(DatasetError, match="LR side of 99 pixels"):
        sampler_of(load_pairs(folder, 2), 2, 99)


@pytest.mark.parametrize(("mode", "value"), [("I;16", 4000), ("F", 0.5)])
def test_samples_that_are_not_of_8_bits_are_refused(tmp_path: Path, mode: str, value: float) -> None:
    Image.new(mode, (16, 16), value).save(tmp_path / "deep.tif")
    with pytest.raises(DatasetError, match=r"deep\.tif: its samples .* are not of 8 bits"):
        load_pairs(tmp_path, 2)
