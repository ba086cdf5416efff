"""The stage that teaches an adapter what maps lose."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.datasets import load_pairs
from adadsr.errors import CheckpointError, InputError
from adadsr.networks import CONFIGS, NetworkConfig
from adadsr.training import Recipe, Stage, Trainer
from adadsr.training.predicted_loss import patch_loss, proportion_loss
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
    assert patch_loss(real, real, 2) == 0
    # Twice the errors lose as many decibels.
    assert patch_loss(2 * real, real, 2) == pytest.approx(0.04 * torch.tensor(2.0).log().item() ** 2, rel=1e-4)
    # Which tiles lose it does not matter.
    moved = real.flatten(3)[..., torch.randperm(30, generator=torch.Generator().manual_seed(1))].view_as(real)
    assert patch_loss(moved, real, 2) == pytest.approx(0, abs=1e-9)
    too_large = real.clone()
    too_large[0] *= 10**0.1
    assert patch_loss(too_large, real, 2) == pytest.approx((1 - 0.05) / 3, rel=1e-3)


def test_errors_that_end_in_the_middle_of_a_tile_are_left_out() -> None:
    real = errors_of_depths(2)
    wider = F.pad(real, (0, 1, 0, 1), value=1e9)
    assert patch_loss(wider, real, 2) == pytest.approx(0, abs=1e-9)


def test_gains_keep_their_proportions() -> None:
    """What all blocks and tiles of a patch share is free, and nearly what the tiles of one block do."""
    scores = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(3)) + 4
    assert proportion_loss(scores, scores) == 0
    brighter = scores.clone()
    brighter[:, 0] += 1.5  # all gains grow by the same factor
    assert proportion_loss(brighter, scores) < 1e-6
    other = scores.clone()
    other[:, -1] += 2
    moved = scores.clone()
    moved[:, :, :2] += 1
    assert 0 < proportion_loss(other, scores) < proportion_loss(moved, scores)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list:  # type: ignore[type-arg]
    return load_pairs(write_photos(tmp_path_factory.mktemp("photos")), 2)


def through(trainer: Trainer, steps: int) -> list[float]:
    return [float(trainer.advance().loss) for _ in range(steps)]


def begun(pairs: list) -> Trainer:  # type: ignore[type-arg]
    """A trainer at the start of the second stage."""
    trainer = trainer_of(RECIPE, pairs)
    through(trainer, FIRST.steps)
    trainer.stage, trainer.step = 1, 0
    trainer.begin()
    return trainer


def test_only_the_adapter_learns_and_its_predictions_improve(pairs: list) -> None:  # type: ignore[type-arg]
    trainer = begun(pairs)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    costs, forward = [], trainer.forward

    def recorded(*given):  # type: ignore[no-untyped-def]
        found = forward(*given)
        costs.append(float(found[0].detach()))
        return found

    trainer.forward = recorded
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
        ({"flat_share": 0.1, "loss": "l2"}, "loss, flat_share have no effect with train: predicted_loss; drop them"),
    ],
)
def test_stages_that_cannot_teach_it_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        replace(STAGE, **options)


def test_an_adapter_of_single_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="needs an adapter that predicts errors; use depth_tile: 4"):
        replace(RECIPE, depth_tile=1)


def test_a_reference_belongs_to_one_stage(pairs: list) -> None:  # type: ignore[type-arg]
    """The next one begins with another, and stages of other kinds have none."""
    trainer = begun(pairs)
    first = {name: value.clone() for name, value in trainer.reference.items()}
    through(trainer, 3)
    trainer.step = 0
    trainer.begin()
    assert not all(torch.equal(value, first[name]) for name, value in trainer.reference.items())
    trainer.stage = 0
    trainer.begin()
    assert not [name for name in trainer.state().parts["weights"] if name.startswith("reference.")]


def test_a_state_without_its_reference_is_refused(pairs: list) -> None:  # type: ignore[type-arg]
    trainer = begun(pairs)
    through(trainer, 2)
    trainer.reference.popitem()
    with pytest.raises(CheckpointError, match="the state lacks the adapter that its stage began with"):
        trainer.begin()


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig("esrgan", 2, 8, 2, adaptive=True, depth_tile=4, growth=4, exits=True),
        NetworkConfig("esrgan", 2, 8, 2, adaptive=True, depth_tile=4, growth=4, unshuffle=2),
        NetworkConfig("rcan", 2, 8, 2, 2, adaptive=True, depth_tile=4),
    ],
)
def test_every_network_whose_adapter_predicts_errors_learns_it(
    pairs: list,  # type: ignore[type-arg]
    config: NetworkConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On patches that tiles do not divide, too."""
    monkeypatch.setitem(CONFIGS, "other", config)
    recipe = Recipe("other", config.scale, 4, (replace(STAGE, patch=18),))
    trainer = trainer_of(recipe, pairs)
    assert all(loss > 0 for loss in through(trainer, 2))
