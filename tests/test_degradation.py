"""Degraded LR images: strengths, where a JPEG's blocks begin, and the use in evaluation and training."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adadsr.datasets import Pair, PatchSampler, TrainingImages
from adadsr.degradation import Degradation, add_noise, blur, compress, degrade, degrade_as_photo
from adadsr.errors import InputError
from adadsr.evaluation import EvaluationOptions, evaluate
from adadsr.evaluation.benchmark import Pixels, load_pair, open_benchmark
from adadsr.metrics import psnr_rgb


def picture(seed: int, height: int, width: int) -> Pixels:
    """A random picture that is smooth enough to be compressed."""
    random = np.random.default_rng(seed)
    return blur(random.integers(0, 256, (height, width, 3), dtype=np.uint8), 1.0)


def test_a_jpeg_is_what_pillow_writes_and_reads() -> None:
    image, file = picture(1, 40, 53), io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60, subsampling="4:2:0")
    expected = np.asarray(Image.open(file))
    assert np.array_equal(compress(image, 60, half_chroma=True), expected)
    assert np.array_equal(degrade(image, [Degradation.parse("jpeg:60")]), expected)


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_size_stays_and_the_seed_decides(height: int, width: int, seed: int) -> None:
    image = picture(seed, height, width)
    once, again = (degrade_as_photo(image, np.random.default_rng(seed)) for _ in range(2))
    assert once.shape == image.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)


def test_blocks_begin_where_they_are_told() -> None:
    """Moving image and blocks together changes nothing inside."""
    image = picture(2, 64, 64)
    moved = compress(image[5:, 3:], 50, half_chroma=True, top=5, left=3)
    inside = compress(image, 50, half_chroma=True)[5:, 3:]
    assert np.abs(moved[16:, 16:].astype(int) - inside[16:, 16:]).max() <= 1
    elsewhere = compress(image[5:, 3:], 50, half_chroma=True)
    assert np.abs(elsewhere[16:, 16:].astype(int) - inside[16:, 16:]).max() > 3


def test_more_strength_is_more_damage() -> None:
    image = picture(3, 64, 64)
    for weak, strong in (("jpeg:90", "jpeg:40"), ("noise:1", "noise:5"), ("blur:0.4", "blur:1")):
        near, far = (psnr_rgb(degrade(image, [Degradation.parse(step)]), image, 0) for step in (weak, strong))
        assert near > far + 3
    assert np.array_equal(degrade(image, [Degradation.parse("noise:0"), Degradation.parse("blur:0")]), image)


def test_noise_has_its_deviation_and_blur_keeps_constants() -> None:
    gray = np.full((200, 200, 3), 128, np.uint8)
    noisy = add_noise(gray, 5.0, np.random.default_rng(1))
    assert noisy.std() == pytest.approx(5.0, rel=0.02)
    assert np.array_equal(blur(gray, 2.0), gray)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("jpeg", "degrade='jpeg' is not KIND:STRENGTH, such as jpeg:75"),
        ("jpeg:x", "degrade='jpeg:x' is not KIND:STRENGTH, such as jpeg:75"),
        ("jpeg:0", "degrade=jpeg:0: the strength is not a whole number from 1 to 100"),
        ("jpeg:75.5", "degrade=jpeg:75.5: the strength is not a whole number from 1 to 100"),
        ("noise:-1", "degrade=noise:-1: the strength is not a number from 0 to 100"),
        ("blur:nan", "degrade=blur:nan: the strength is not a number from 0 to 10"),
        ("rain:3", "degrade='rain' is not one of jpeg, noise, blur"),
    ],
)
def test_a_degradation_checks_itself(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        Degradation.parse(text)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "Some"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed, 60, 72)).save(folder / f"{seed}.png")
    return folder


def test_benchmarks_degrade_their_lr_images(dataset: Path) -> None:
    steps = (Degradation("noise", 4.0), Degradation("jpeg", 50.0))
    clean, degraded = open_benchmark(dataset, 2), open_benchmark(dataset, 2, degradations=steps)
    assert degraded.name == "Some-noise4-jpeg50"
    for before, after in zip(clean.samples, degraded.samples, strict=True):
        assert before.digest != after.digest
        pair, seen = load_pair(before, 2), load_pair(after, 2)
        assert np.array_equal(pair.hr, seen.hr)
        assert not np.array_equal(pair.lr, seen.lr)
        assert np.array_equal(seen.lr, load_pair(after, 2).lr)


def test_evaluation_of_degraded_images(dataset: Path, tmp_path: Path) -> None:
    def rows(*steps: Degradation) -> float:
        options = EvaluationOptions(
            ("Some",), ("bicubic-rgb",), 2, tmp_path / "out", data_root=dataset.parent, degradations=steps
        )
        (row,) = evaluate(options).rows
        assert row.quality.psnr_y is not None
        return row.quality.psnr_y

    assert rows() > rows(Degradation("jpeg", 20.0)) + 1
    with pytest.raises(InputError, match="made from the HR image"):
        EvaluationOptions(("Some",), ("bicubic",), 2, tmp_path, degradations=(Degradation("jpeg", 20.0),))


def test_patches_of_photos() -> None:
    """About the share is degraded; without any, no random numbers are drawn."""
    pixels = [torch.from_numpy(picture(1, side, side)).permute(2, 0, 1) for side in (40, 80)]
    images = TrainingImages([Pair(*pixels)], 2, torch.device("cpu"))
    sampler = PatchSampler(images, 16, torch.Generator().manual_seed(1))
    lr = sampler.batch(400).lr
    state = sampler.generator.get_state()
    assert sampler.as_photos(lr, 0.0) is lr
    assert torch.equal(sampler.generator.get_state(), state)
    seen = sampler.as_photos(lr, 0.5)
    assert seen.is_contiguous(memory_format=torch.channels_last) == lr.is_contiguous(memory_format=torch.channels_last)
    changed = (seen != lr).any(dim=(1, 2, 3)).float().mean()
    assert 0.35 < changed < 0.55


def test_patches_of_one_color() -> None:
    """About the share is of one colour in all parts, often a clipped one; without any, no random numbers are drawn."""
    pixels = [torch.from_numpy(picture(1, side, side)).permute(2, 0, 1) for side in (40, 80)]
    target = pixels[1].half()
    images = TrainingImages([Pair(*pixels, target)], 2, torch.device("cpu"))
    sampler = PatchSampler(images, 16, torch.Generator().manual_seed(1))
    batch = sampler.batch(400)
    state = sampler.generator.get_state()
    assert sampler.with_flat(batch, 0.0, 400) is batch
    assert torch.equal(sampler.generator.get_state(), state)
    mixed = sampler.with_flat(batch, 0.5, 400)
    assert mixed.target is not None
    flat = (mixed.lr == mixed.lr[..., :1, :1]).flatten(1).all(1)
    assert 0.4 < flat.float().mean() < 0.6
    for patches in (mixed.hr, mixed.target):
        assert torch.equal(patches[flat], mixed.lr[flat][..., :1, :1].expand_as(patches[flat]))
    assert torch.equal(mixed.lr[~flat], batch.lr[~flat])
    assert torch.equal(mixed.hr[~flat], batch.hr[~flat])
    clipped = (mixed.lr[flat] == 0) | (mixed.lr[flat] == 255)
    assert 0.15 < clipped.float().mean() < 0.35


def test_parts_of_a_batch_are_what_one_process_would_draw() -> None:
    """Processes that share a batch make the same patches flat, and degrade them alike, as one process would."""
    pixels = [torch.from_numpy(picture(1, side, side)).permute(2, 0, 1) for side in (40, 80)]
    images = TrainingImages([Pair(*pixels)], 2, torch.device("cpu"))

    def drawn(part: slice) -> tuple[Pair, torch.Tensor]:
        sampler = PatchSampler(images, 16, torch.Generator().manual_seed(1))
        batch = sampler.with_flat(sampler.batch(8, part), 0.5, 8, part)
        return batch, sampler.as_photos(batch.lr, 0.5, part)

    whole, seen = drawn(slice(0, 8))
    parts = [drawn(part) for part in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat([batch.hr for batch, _ in parts]), whole.hr)
    assert torch.equal(torch.cat([part for _, part in parts]), seen)
