"""LIIF as a teacher: its published definition and result, and corrupt files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from adadsr.datasets import load_pairs
from adadsr.errors import CheckpointError, InputError
from adadsr.geometry import Box
from adadsr.metrics import psnr_y
from adadsr.resize import bicubic_downscale
from adadsr.training import Stage
from adadsr.training import liif as module
from adadsr.training.liif import Liif
from training_samples import RECIPE, trainer_of, write_photos

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the published naming, small enough to keep colours in range."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in module._shapes().items():
        fan_in = max(1, int(np.prod(shape[1:])))
        tensors[name] = torch.randn(shape, generator=generator) * (0.5 if ".body." in name else 1.4) / fan_in**0.5
    path = tmp_path_factory.mktemp("liif") / "liif.safetensors"
    save_file(tensors, path)
    return path


def published(tensors: dict[str, Tensor], lr: Tensor, scale: int) -> Tensor:
    """`query_rgb` of the published code, position by position: lr (3, H, W) -> (3, s*H, s*W), in float64."""
    liif = Liif({name: value.double() for name, value in tensors.items()})
    features = F.unfold(liif._features(lr[None].double() / 127.5 - 1), 3, padding=1).view(1, -1, *lr.shape[1:])
    size = torch.tensor(lr.shape[1:], dtype=torch.float64)
    axes = [(2 * torch.arange(scale * n, dtype=torch.float64) + 1) / (scale * n) - 1 for n in lr.shape[1:]]
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    total, colours, areas = 0, [], []
    for signs in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        nearest = (positions + torch.tensor(signs) / size + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
        cell = ((nearest + 1) * size / 2).floor()
        row, column = cell.long().unbind(-1)
        offset = (positions - ((2 * cell + 1) / size - 1)) * size
        x = torch.cat([features[0][:, row, column].permute(1, 2, 0), offset, torch.full_like(offset, 2 / scale)], -1)
        for index in module.LAYERS:
            x = F.linear(x if index == 0 else x.relu(), *liif._layer(index))
        colours.append(x)
        areas.append(offset.prod(-1).abs() + 1e-9)
    total = sum(areas)
    weighted = sum(colour * (area / total)[..., None] for colour, area in zip(colours, reversed(areas), strict=True))
    return (weighted.permute(2, 0, 1) + 1) * 127.5


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 6)])
def test_it_is_the_published_definition(file: Path, scale: int, size: tuple[int, int]) -> None:
    liif = Liif.from_file(file, CPU)
    lr = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(1))
    expected, found = published(liif.tensors, lr, scale), liif.upscale(scale, lr, Box(0, 0, *size)).double()
    assert float(expected.std()) > 1
    if scale == 3:  # at the centres of the last LR pixels all published areas are 0, so weights are 1e-9 / 4e-9
        expected, found = expected[:, :-3, :-3], found[:, :-3, :-3]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("scale", [2, 3])
def test_bfloat16_errs_by_a_fraction_of_its_contrast(file: Path, scale: int) -> None:
    lr = torch.randint(256, (3, 20, 24), generator=torch.Generator().manual_seed(1))
    exact, found = (
        Liif.from_file(file, CPU, bfloat16=bfloat16).upscale(scale, lr, Box(0, 0, 20, 24)) for bfloat16 in (False, True)
    )
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).std()) < 0.03 * float(exact.std())


def test_a_box_is_a_part_of_the_whole(file: Path) -> None:
    liif = Liif.from_file(file, CPU)
    lr = torch.randint(256, (3, 11, 9), generator=torch.Generator().manual_seed(1))
    whole = liif.upscale(2, lr, Box(0, 0, 11, 9))
    for box in (Box(3, 2, 7, 6), Box(0, 4, 5, 9)):
        torch.testing.assert_close(liif.upscale(2, lr, box), box.scaled(2).of(whole), rtol=0, atol=1e-3)


def test_set5_as_published(shared_data: Path) -> None:
    path = shared_data.parent / "weights" / "liif-edsr-baseline.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    liif, reached = Liif.from_file(path, CPU), []
    for photo in sorted((shared_data / "eval" / "Set5" / "HR").iterdir()):
        hr = np.asarray(Image.open(photo).convert("RGB"))
        hr = hr[: hr.shape[0] // 2 * 2, : hr.shape[1] // 2 * 2].copy()
        lr = torch.from_numpy(bicubic_downscale(hr, 2)).permute(2, 0, 1)
        sr = liif.upscale(2, lr, Box(0, 0, *lr.shape[1:]))
        reached.append(psnr_y(sr.clamp(0, 255).round().byte().permute(1, 2, 0).numpy(), hr, 2))
    assert np.mean(reached) == pytest.approx(37.974, abs=0.002)


def stage_of(path: Path, **options: float) -> Stage:
    return Stage(1, 2, 8, 1e-3, teacher=str(path), **options)


def test_a_stage_learns_from_it(file: Path, tmp_path: Path) -> None:
    pairs = load_pairs(write_photos(tmp_path / "photos"), 2)
    stage = stage_of(file, teacher_megapixels=0.001, teacher_weight=1.0)
    trainer = trainer_of(replace(RECIPE, stages=(stage,)), pairs)
    batch = trainer.sampler.batch(2, slice(0, 2))
    minimised, reported = trainer._losses(stage, batch, batch.lr, None)
    assert batch.target is not None
    expected = (trainer.forward(batch.lr).sr - batch.target[..., 1:-1, 1:-1]).abs().mean()
    torch.testing.assert_close(minimised, expected)
    assert reported != minimised


def test_every_step_would_be_too_slow(file: Path, tmp_path: Path) -> None:
    pairs = load_pairs(write_photos(tmp_path / "photos"), 2)
    with pytest.raises(InputError, match=r"liif\.safetensors: LIIF is too slow for every step; add teacher_megapixels"):
        trainer_of(replace(RECIPE, stages=(stage_of(file),)), pairs)


@pytest.mark.parametrize("damage", ["truncated", "empty", "misshapen", "not finite"])
def test_a_damaged_file_is_named(damage: str, file: Path, tmp_path: Path) -> None:
    path, pairs = tmp_path / "bad.safetensors", load_pairs(write_photos(tmp_path / "photos"), 2)
    content, tensors = file.read_bytes(), dict(Liif.from_file(file, CPU).tensors)
    if damage in ("truncated", "empty"):
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    else:
        wrong = torch.zeros(3, 9) if damage == "misshapen" else torch.full((3, 256), torch.nan)
        save_file(tensors | {"imnet.layers.8.weight": wrong}, path)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: "):
        trainer_of(replace(RECIPE, stages=(stage_of(path, teacher_megapixels=0.001),)), pairs)
