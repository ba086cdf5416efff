"""Targets that a teacher computes before a stage: which parts of the photos, and how they are cached."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adadsr import checkpoints
from adadsr.datasets import PatchSampler, TrainingImages, load_pairs
from adadsr.errors import DatasetError, InputError
from adadsr.geometry import Box
from adadsr.networks import Network, NetworkConfig
from adadsr.training import Stage
from adadsr.training.distributed import World
from adadsr.training.targets import LARGEST, TargetMaker, choose_parts, split
from adadsr.training.teacher import Teacher
from training_samples import ALONE, RECIPE, build, trainer_of, write_photos

STAGE = Stage(1, 2, 8, 1e-3, teacher="t", teacher_megapixels=0.002)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 300))
def test_parts_cover_an_image_once(height: int, width: int, least: int) -> None:
    """They hold a patch where the image does, and are those of small patches wherever these hold it."""
    seen, boxes = np.zeros((height, width)), split((height, width), least)
    for box in boxes:
        box.of(seen)[...] += 1
        assert max(box.height, box.width) < max(LARGEST + 1, 2 * least)
        assert box.height >= min(least, height)
        assert box.width >= min(least, width)
    assert (seen == 1).all()
    small = split((height, width), 1)
    if all(min(box.height, box.width) >= least for box in small):
        assert boxes == small


@given(st.integers(0, 9), st.integers(1, 200_000), st.integers(1, 200_000))
def test_more_pixels_add_parts_to_those_of_fewer(seed: int, few: int, more: int) -> None:
    sizes, reductions = torch.tensor([[300, 200], [150, 100], [200, 400], [9, 9]]), torch.tensor([1, 2, 1, 2])
    less, larger = (set_of(sizes, reductions, pixels, seed) for pixels in sorted((few, more)))
    assert less <= larger


def set_of(sizes: Tensor, reductions: Tensor, pixels: int, seed: int) -> set[str]:
    return {str(part) for part in choose_parts(sizes, reductions, pixels, 10, seed)}


def test_reductions_share_the_pixels_and_a_part_holds_a_patch() -> None:
    sizes, reductions = torch.tensor([[512, 512], [256, 256], [170, 170], [9, 9]]), torch.tensor([1, 2, 3, 1])
    parts = choose_parts(sizes, reductions, 90_000, 32, seed=0)
    areas = [(part.image, part.box.height * part.box.width) for part in parts]
    shares = [sum(area for image, area in areas if image == index) for index in range(4)]
    assert shares == [2 * 128**2, 2 * 128**2, 170**2, 0]


class Counting:
    """A teacher that repeats pixels, adds a fraction to them, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, lr: Tensor, box: Box) -> Tensor:
        self.calls += 1
        repeated = lr.float().repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return box.scaled(2).of(repeated) + 0.25


def images_of(folder: Path, reductions: tuple[int, ...] = (1, 2)) -> TrainingImages:
    return TrainingImages(load_pairs(folder, 2, None, reductions), 2, ALONE.device)


def test_a_target_lies_where_its_lr_does(tmp_path: Path) -> None:
    images = images_of(write_photos(tmp_path / "photos"))
    teacher = Teacher(Counting(), None, "digest")
    parts = TargetMaker(teacher, 0, ALONE, None).cut(images, STAGE)
    assert sorted(set(parts.reductions.tolist())) == [1, 2]
    batch = PatchSampler(parts, 8, torch.Generator().manual_seed(0)).batch(32)
    assert batch.target is not None
    assert torch.equal(batch.target[..., ::2, ::2], batch.lr + 0.25)


def test_targets_are_cached_and_only_new_ones_are_computed(tmp_path: Path) -> None:
    images, make, cache = images_of(write_photos(tmp_path / "photos")), Counting(), tmp_path / "cache"
    cache.mkdir()
    counts = []
    for megapixels, digest in ((0.0001, "a"), (0.0001, "a"), (1.0, "a"), (1.0, "a"), (1.0, "b")):
        stage = replace(STAGE, teacher_megapixels=megapixels)
        TargetMaker(Teacher(make, None, digest), 0, ALONE, cache).cut(images, stage)
        counts.append(make.calls)
    assert counts == [2, 2, 4, 4, 8]


def test_processes_that_share_the_work_tell_of_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, cache, told = images_of(write_photos(tmp_path / "photos")), tmp_path / "cache", []
    cache.mkdir()
    monkeypatch.setattr(World, "wait", lambda world: None)
    maker = TargetMaker(Teacher(Counting(), None, "digest"), 0, World(0, 2, ALONE.device), cache)
    assert len(maker.cut(images, replace(STAGE, teacher_megapixels=1.0), told.append).sizes) == 4
    assert told == [0.5, 1.0]


def test_no_part_that_holds_a_patch_is_an_error(tmp_path: Path) -> None:
    images = images_of(write_photos(tmp_path / "photos"))
    with pytest.raises(DatasetError, match="all LR images are smaller than patch=30"):
        TargetMaker(Teacher(Counting(), None, ""), 0, ALONE, None).cut(images, replace(STAGE, patch=30))
    images = images_of(tmp_path / "photos", (2,))
    with pytest.raises(DatasetError, match="all LR images at 1/2 of their size are smaller than patch=30"):
        TargetMaker(Teacher(Counting(), None, ""), 0, ALONE, None).cut(images, replace(STAGE, patch=30))


def test_a_network_can_make_targets_too(tmp_path: Path) -> None:
    """Photos no larger than a part: their targets are the network's SR in float16."""
    network = build("tiny", 2)
    checkpoints.save(network.model(), tmp_path / "teacher.safetensors")
    stage = replace(STAGE, teacher=str(tmp_path / "teacher.safetensors"), teacher_megapixels=1.0)
    pairs = load_pairs(write_photos(tmp_path / "photos"), 2)
    trainer = trainer_of(replace(RECIPE, stages=(stage,)), pairs)
    parts = trainer.sampler.images
    for index in range(len(pairs)):
        lr = parts.pair(index).lr
        assert parts.targets is not None
        with torch.no_grad():
            expected = network(lr[None].float()).sr[0]
        torch.testing.assert_close(parts.targets.image(index, 2 * lr.shape[1]).float(), expected, rtol=1e-3, atol=0.1)


def test_a_teacher_of_squares_of_pixels_serves_photos_of_any_size(tmp_path: Path) -> None:
    """In every step its patches are whole squares."""
    network = Network(NetworkConfig("esrgan", 2, 4, 1, growth=2, unshuffle=2))
    checkpoints.save(network.model(), tmp_path / "teacher.safetensors")
    stage = replace(STAGE, teacher=str(tmp_path / "teacher.safetensors"), teacher_megapixels=1.0, patch=9)
    pairs = load_pairs(write_photos(tmp_path / "photos"), 2)
    assert any(side % 2 for pair in pairs for side in pair.lr.shape[1:])
    trainer = trainer_of(replace(RECIPE, stages=(stage,)), pairs)
    assert trainer.sampler.batch(2).target is not None
    with pytest.raises(InputError, match="works on 2x2 squares of pixels; use a patch that is a multiple of 2"):
        trainer_of(replace(RECIPE, stages=(replace(stage, teacher_megapixels=0.0),)), pairs)
