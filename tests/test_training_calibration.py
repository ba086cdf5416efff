"""The stage that teaches an adapter what maps lose."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.datasets import load_pairs
from adadsr.errors import InputError
from adadsr.training import Recipe, Stage, Trainer
from adadsr.training.calibration import LEAST_GAIN, calibration_loss, order_loss
from training_samples import trainer_of, write_photos

FIRST = Stage(10, 4, 16, 1e-3, adaptive=True, uniform_share=0.5, exits=2)
STAGE = replace(FIRST, steps=60, learning_rate=3e-3, uniform_share=0.0, train="predicted_loss")
RECIPE = Recipe("adatiny", 2, 4, (FIRST, STAGE), warmup=2, ema_decay=0.5)


def sample(seed: int, *shape: int) -> Tensor:
    """Positive numbers that differ a lot."""
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).exp() + 1


def errors_of_depths(seed: int) -> Tensor:
    """Of three ways, the last at full depth, whose errors are the smallest: (ways, N, 1, h, w)."""
    return sample(seed, 3, 4, 1, 5, 6).flip(0).cumsum(0).flip(0)


def test_right_predictions_cost_nothing_and_others_what_they_err_by() -> None:
    real = errors_of_depths(0)
    assert calibration_loss(real, real, 2) == 0
    # Twice the errors lose as many decibels.
    assert calibration_loss(2 * real, real, 2) == pytest.approx(0.04 * torch.tensor(2.0).log().item() ** 2, rel=1e-4)
    # Which tiles lose it does not matter.
    moved = real.flatten(3)[..., torch.randperm(30, generator=torch.Generator().manual_seed(1))].view_as(real)
    assert calibration_loss(moved, real, 2) == pytest.approx(0, abs=1e-9)
    too_large = real.clone()
    too_large[0] *= 10**0.1
    assert calibration_loss(too_large, real, 2) == pytest.approx((1 - 0.05) / 3, rel=1e-3)


def test_errors_that_end_in_the_middle_of_a_tile_are_left_out() -> None:
    real = errors_of_depths(2)
    wider = F.pad(real, (0, 1, 0, 1), value=1e9)
    assert calibration_loss(wider, real, 2) == pytest.approx(0, abs=1e-9)


def test_gains_keep_their_proportions() -> None:
    """What all blocks and tiles of a patch share is free, and nearly what the tiles of one block do."""
    scores = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(3)) + 4
    assert order_loss(scores, scores) == 0
    brighter = scores.clone()
    brighter[:, 0] += 1.5  # all gains grow by the same factor
    assert order_loss(brighter, scores) < 1e-6
    other = scores.clone()
    other[:, -1] += 2
    moved = scores.clone()
    moved[:, :, :2] += 1
    assert 0 < order_loss(other, scores) < order_loss(moved, scores)
    assert LEAST_GAIN > 0


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list:  # type: ignore[type-arg]
    return load_pairs(write_photos(tmp_path_factory.mktemp("photos")), 2)


def through(trainer: Trainer, steps: int) -> list[float]:
    return [float(trainer.advance().loss) for _ in range(steps)]


def begun(pairs: list) -> Trainer:  # type: ignore[type-arg]
    """A trainer at the start of the calibration."""
    trainer = trainer_of(RECIPE, pairs)
    through(trainer, FIRST.steps)
    trainer.stage, trainer.step = 1, 0
    trainer.begin()
    return trainer


def test_only_the_adapter_learns_and_its_predictions_improve(pairs: list) -> None:  # type: ignore[type-arg]
    trainer = begun(pairs)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    costs = []
    compared = trainer._compared

    def recorded(*given):  # type: ignore[no-untyped-def]
        found = compared(*given)
        costs.append(float(found[0].detach()))
        return found

    trainer._compared = recorded  # type: ignore[method-assign]
    through(trainer, STAGE.steps)
    after = trainer.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("adapter.") for name in changed)
    assert sum(costs[-10:]) < 0.7 * sum(costs[:10])


def test_a_resumed_stage_keeps_to_the_adapter_that_it_began_with(pairs: list) -> None:  # type: ignore[type-arg]
    trainer = begun(pairs)
    through(trainer, 5)
    state = copy.deepcopy(trainer.state())
    resumed = trainer_of(RECIPE, pairs)
    resumed.restore(state)
    resumed.begin()
    assert through(resumed, 5) == through(trainer, 5)
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"exits": 1}, "train: predicted_loss compares depths with full depth; use exits: 4"),
        ({"adaptive": False}, "train: predicted_loss needs an adaptive stage"),
        ({"teacher": "x"}, "teacher=x has no effect with train: predicted_loss"),
    ],
)
def test_stages_that_cannot_teach_it_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        replace(STAGE, **options)


def test_an_adapter_of_single_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="needs an adapter that predicts errors; use depth_tile: 4"):
        replace(RECIPE, depth_tile=1)


def test_the_reference_is_not_part_of_other_stages(pairs: list, tmp_path: Path) -> None:  # type: ignore[type-arg]
    assert not [name for name in trainer_of(RECIPE, pairs).state().parts["weights"] if name.startswith("reference.")]
