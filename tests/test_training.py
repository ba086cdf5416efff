"""A trainer's step: what it minimises, what its options do, and that a state holds all of it."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from adadsr import Upscaler, checkpoints
from adadsr.datasets import load_pairs
from adadsr.errors import CheckpointError, InputError
from adadsr.losses import depth_excess, error_deviance, l1, l2, texture, tile_errors
from adadsr.metrics import psnr_y
from adadsr.networks import NetworkConfig
from adadsr.training import Stage, Trainer
from adadsr.training.depths import AdapterDepths, StepDepths, UniformDepths
from adadsr.training.forward import TrainingForward
from adadsr.training.optimizers import BETAS, Optimizers, learning_rate
from adadsr.training.recipe import OPTIMIZERS, PRECISIONS
from adadsr.training.state import read_state, write_state
from training_samples import RECIPE, STAGES, build, trainer_of, write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def test_losses_are_as_defined() -> None:
    halves = torch.tensor([3.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    assert l1(halves, torch.zeros(2, 3, 2, 2)) == 2
    assert l2(halves, torch.zeros(2, 3, 2, 2)) == 5
    maps = torch.tensor([2.0, 5.0]).view(2, 1, 1, 1)
    assert depth_excess(maps, torch.tensor([4.0, 4.0])) == 0.5


def test_tile_errors_are_the_mean_squares_that_psnr_sums() -> None:
    rng = np.random.default_rng(0)
    sr, hr = (rng.integers(0, 256, (16, 24, 3), dtype=np.uint8) for _ in range(2))
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].double() for image in (sr, hr)]
    errors = tile_errors(*images, 8)
    assert errors.shape == (1, 1, 2, 3)
    assert 10 * math.log10(255**2 / float(errors.mean())) == pytest.approx(psnr_y(sr, hr, 0), abs=1e-6)


def test_the_deviance_is_least_at_the_mean() -> None:
    errors = torch.rand(1000, generator=torch.Generator().manual_seed(0)).square() * 50 + 1
    at = {factor: float(error_deviance((errors.mean() * factor).expand(1000), errors)) for factor in (0.9, 1, 1.1, 9)}
    assert min(at, key=at.__getitem__) == 1
    assert at[9] > at[1] + 1  # far too large a prediction costs much


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("exits", [False, True])
def test_what_learns_in_a_stage_has_a_gradient_in_every_step(exits: bool, adaptive: bool, folder: Path) -> None:
    """Several processes would wait for those that are missing."""
    sizes = NetworkConfig("esrgan", 2, 8, 2, adaptive=True, depth_tile=4, growth=4, exits=exits)
    stage = replace(STAGES[adaptive], full_share=0.0) if adaptive else STAGES[0]
    trainer = trainer_of(replace(RECIPE, network="adaesrgan", stages=(stage,), sizes=sizes), load_pairs(folder, 2))
    trainer.advance()
    learning = {name: each for name, each in trainer.network.named_parameters() if each.requires_grad}
    assert [name for name, parameter in learning.items() if parameter.grad is None] == []


@pytest.mark.parametrize(("train", "moving"), [("adapter", ("adapter.",)), ("exits", ("body.exits.",))])
def test_only_what_is_trained_moves(train: str, moving: tuple[str, ...], folder: Path) -> None:
    sizes = NetworkConfig("esrgan", 2, 8, 2, adaptive=True, depth_tile=4, growth=4, exits=True)
    stage = replace(STAGES[1], train=train, uniform_share=0.5, exits=3)
    recipe = replace(RECIPE, network=sizes.kind, stages=(stage,), sizes=sizes)
    trainer = trainer_of(recipe, load_pairs(folder, 2))
    before = {name: value.detach().clone() for name, value in trainer.network.named_parameters()}
    for _ in range(6):
        trainer.advance()
    for name, value in trainer.network.named_parameters():
        assert torch.equal(value, before[name]) != name.startswith(moving), name


@pytest.mark.parametrize(("loss", "factor"), [("l1", 3), ("l2", 9)])
def test_errors_on_patches_of_one_color_count_as_often_as_asked(loss: str, factor: float, folder: Path) -> None:
    def norm(weight: float, share: float) -> float:
        stage = replace(STAGES[0], loss=loss, flat_share=share, flat_weight=weight)
        return float(trainer_of(replace(RECIPE, stages=(stage,)), load_pairs(folder, 2)).advance().norm)

    assert norm(3.0, 1.0) == pytest.approx(factor * norm(1.0, 1.0), rel=1e-3)
    assert norm(3.0, 0.0) == norm(1.0, 0.0)


def test_the_adapter_learns_that_one_color_is_perfect(folder: Path) -> None:
    """Whatever the network makes of it: a picture of one colour shall have one depth."""
    stage = replace(
        STAGES[1], steps=200, train="adapter", uniform_share=0.5, exits=2, flat_share=1.0, learning_rate=0.05
    )
    trainer = trainer_of(replace(RECIPE, stages=(stage,)), load_pairs(folder, 2))
    with torch.no_grad():
        [value for name, value in trainer.network.named_parameters() if name.startswith("tail")][-1].add_(5.0)
    for _ in range(stage.steps):
        trainer.advance()
    picture = np.full((16, 16, 3), 90, np.uint8)
    prepared = Upscaler(trainer.network.model()).prepare(picture)
    assert np.abs(prepared.run(prepared.plan()).image.astype(int) - 90).max() > 2
    curve = prepared.curve(np.ones(1, np.float32))
    assert curve is not None
    assert curve.full < 16  # squared levels, of 16 tiles together


OPTIONS = {
    "published": {"depth_weight": 0.01},
    "distilled": {"teacher": "teacher.safetensors", "teacher_weight": 0.3},
    "shared": {"shared_depth": 3, "full_share": 0.3},
    "uniform": {"uniform_share": 0.5},
    "adapter": {"train": "adapter", "uniform_share": 0.5, "exits": 2},
    "photos": {"photo_share": 0.5},
    "flat": {"flat_share": 0.5},
    "exits": {"uniform_share": 0.5, "exits": 2, "teacher": "teacher.safetensors"},
    "squares": {"loss": "l2", "teacher": "teacher.safetensors"},
    "targets": {"teacher": "teacher.safetensors", "teacher_megapixels": 0.001, "teacher_weight": 1.0},
    "each alone": {"least_share": 0.3, "schedule": "step"},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_holds_all_that_the_next_losses_depend_on(
    name: str, precision: str, optimizer: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(build("tiny", 2).model(), tmp_path / "teacher.safetensors")
    checkpoints.save(build("tiny", 2).model(), tmp_path / "start.safetensors")
    pairs, steps = load_pairs(folder, 2), 6
    stage = Stage(steps, 3, 8, 1e-3, adaptive=True, **OPTIONS[name])
    tile = 1 if name == "published" else 4
    recipe = replace(
        RECIPE,
        depth_tile=tile,
        stages=(stage,),
        precision=precision,
        optimizer=optimizer,
        start_from="start.safetensors",
    )
    whole, first, second = (trainer_of(recipe, pairs) for _ in range(3))
    expected = [float(whole.advance().loss) for _ in range(steps)]
    for _ in range(steps // 2):
        first.advance()
    write_state(tmp_path / "state", first.state())
    second.restore(read_state(tmp_path / "state"))
    rest = [float(second.advance().loss) for _ in range(steps - steps // 2)]
    assert rest == expected[steps // 2 :]
    assert all(math.isfinite(loss) for loss in expected)
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(second.averaged.state_dict()[name], value)


def test_bfloat16_steps_keep_float32_weights_and_nearly_the_loss(folder: Path) -> None:
    losses = []
    for precision in PRECISIONS:
        trainer = trainer_of(replace(RECIPE, precision=precision, stages=STAGES[1:]), load_pairs(folder, 2))
        losses.append(float(trainer.advance().loss))
        assert {tensor.dtype for tensor in trainer.network.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_a_state_of_another_recipe_is_refused_and_the_difference_named(folder: Path) -> None:
    state = trainer_of(RECIPE, load_pairs(folder, 2)).state()
    with pytest.raises(InputError, match="the state belongs to a recipe that differs in seed, warmup;"):
        trainer_of(replace(RECIPE, seed=9, warmup=5), load_pairs(folder, 2)).restore(state)


def test_a_dense_stage_leaves_the_adapter_and_an_adaptive_one_does_not(folder: Path) -> None:
    for stage in STAGES:
        trainer = trainer_of(replace(RECIPE, stages=(stage,)), load_pairs(folder, 2))
        before = adapter_weight(trainer).clone()
        trainer.advance()
        assert torch.equal(adapter_weight(trainer), before) is not stage.adaptive


def adapter_weight(trainer: Trainer) -> torch.Tensor:
    return trainer.network.weights().require_adapter().first.weight.detach()


def test_muon_moves_the_blocks_and_adam_the_rest(folder: Path) -> None:
    networks, stage = {}, replace(STAGES[1], full_share=1.0)
    for optimizer in OPTIMIZERS:
        trainer = trainer_of(replace(RECIPE, optimizer=optimizer, stages=(stage,)), load_pairs(folder, 2))
        before = {name: value.detach().clone() for name, value in trainer.network.named_parameters()}
        trainer.advance()
        networks[optimizer] = {name: value - before[name] for name, value in trainer.network.named_parameters()}
    for name, moved in networks["muon"].items():
        by_muon = name.startswith("body.blocks") and name.endswith("weight")
        assert moved.any()
        assert torch.equal(moved, networks["adam"][name]) is not by_muon
        if by_muon:  # nearly orthogonal: every direction moves about as far
            singular = torch.linalg.svdvals(moved.detach().permute(0, 2, 3, 1).flatten(1))
            assert singular.max() < 2.5 * singular.min()


def test_adam_in_one_kernel_steps_as_adam_does() -> None:
    """With channels last in memory, and a state that was loaded."""
    network = build("tiny", 2).to(memory_format=torch.channels_last)
    other = copy.deepcopy(network)
    ours, plain = Optimizers(network, torch.device("cpu"), muon=False), Adam(other.parameters(), 1e-3, BETAS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
            mine.grad = torch.empty_like(mine).copy_(torch.randn(mine.shape, generator=generator))
            theirs.grad = mine.grad.clone()
        ours.step(1e-3)
        plain.step()
        ours.load_tensors({name: tensor.clone().contiguous() for name, tensor in ours.tensors().items()})
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_state_of_other_parameters_is_refused() -> None:
    wide, narrow = (Optimizers(build(name, 2), torch.device("cpu"), muon=False) for name in ("tiny", "adatiny"))
    for optimizers in (wide, narrow):
        for parameter in optimizers.each[0].param_groups[0]["params"]:
            parameter.grad = torch.ones_like(parameter)
        optimizers.step(1e-3)
    with pytest.raises(CheckpointError, match=r"adapter\S+, which belongs to no parameter"):
        wide.load_tensors(narrow.tensors())
    larger = {name: torch.cat([value, value]) if value.ndim else value for name, value in wide.tensors().items()}
    with pytest.raises(CheckpointError, match=r"the state of \S+ is \(\d+"):
        wide.load_tensors(larger)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_teacher_with_the_weights_of_its_student_teaches_nothing(scale: int, tmp_path: Path) -> None:
    """Neither does the border of patches, which the folded tail gets wrong."""
    teacher = tmp_path / "teacher.safetensors"
    checkpoints.save(build("tiny", scale).model(), teacher)
    stage = Stage(4, 2, 8, 1e-3, loss="l2", teacher=str(teacher), teacher_weight=1.0)
    recipe = replace(RECIPE, network="tiny", scale=scale, depth_tile=1, stages=(stage,), start_from=str(teacher))
    pairs = load_pairs(write_photos(tmp_path / "photos"), scale)
    taught = float(trainer_of(recipe, pairs).advance().norm)
    untaught = float(trainer_of(replace(recipe, stages=(replace(stage, teacher_weight=0.5),)), pairs).advance().norm)
    assert taught < 2e-3 * untaught


@pytest.mark.parametrize("scale", [3, 4])
def test_steps_of_every_kind_at_other_scales(scale: int, tmp_path: Path) -> None:
    """The first shows the errors of all but the border; all move the adapter."""
    kinds = [{}, {"uniform_share": 0.99, "exits": 2}, {"train": "predicted_loss", "exits": 2}]
    pairs = load_pairs(write_photos(tmp_path), scale)
    for options in kinds:
        stage = replace(STAGES[1], **options)
        trainer = trainer_of(replace(RECIPE, scale=scale, stages=(stage,)), pairs)
        before = {name: value.detach().clone() for name, value in trainer.network.named_parameters()}
        assert all(math.isfinite(float(trainer.advance().loss)) for _ in range(3))
        moved = [name for name, value in trainer.network.named_parameters() if not torch.equal(value, before[name])]
        assert any(name.startswith("adapter.") for name in moved)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_compiled_step_has_the_loss_of_one_that_is_not(
    scale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TrainingForward, "compile", lambda forward, mode: nn.Module.compile(forward, backend="aot_eager")
    )
    losses, networks, pairs = [], [], load_pairs(write_photos(tmp_path), scale)
    for compiled in (False, True):
        stages = (replace(STAGES[1], uniform_share=0.8),)
        recipe = replace(RECIPE, scale=scale, compile=compiled, stages=stages, optimizer="muon")
        trainer = trainer_of(recipe, pairs)
        losses.append([float(trainer.advance().loss) for _ in range(6)])
        networks.append(trainer.network.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, value in networks[0].items():  # blocks that did not run stay the same in both
        torch.testing.assert_close(networks[1][name], value, rtol=1e-3, atol=5e-5)


def test_schedules_fall_as_documented() -> None:
    stage = Stage(1000, 1, 8, 2.0)
    assert learning_rate(stage, 0, 4) == 0.5
    assert [learning_rate(stage, step, 1) for step in (0, 500, 1000)] == pytest.approx([2.0, 1.01, 0.02])
    halving = replace(stage, schedule="step")
    assert [learning_rate(halving, step, 1) for step in (0, 499, 500, 750, 875, 999)] == [2, 2, 1, 0.5, 0.25, 0.25]


def test_the_loss_of_a_stage_is_minimised_and_l1_is_reported(folder: Path) -> None:
    """So that the log of stages with and without squares can be compared."""
    steps, moved = [], []
    for loss in ("l1", "l2"):
        trainer = trainer_of(replace(RECIPE, stages=(replace(STAGES[0], loss=loss),)), load_pairs(folder, 2))
        steps.append(trainer.advance())
        moved.append(trainer.network.weights().head.conv.weight.detach().clone())
    assert steps[0].loss == steps[1].loss
    assert steps[0].norm < steps[1].norm
    assert not torch.equal(*moved)


def test_squares_are_those_of_the_distances_to_photo_and_teacher(folder: Path, tmp_path: Path) -> None:
    checkpoints.save(build("tiny", 2).model(), tmp_path / "teacher.safetensors")
    stage = replace(STAGES[0], loss="l2", teacher=str(tmp_path / "teacher.safetensors"), teacher_weight=0.3)
    trainer = trainer_of(replace(RECIPE, stages=(stage,)), load_pairs(folder, 2))
    batch = trainer.sampler.batch(2, slice(0, 2))
    minimised, reported = trainer._losses(stage, batch, batch.lr, None)
    sr, target, photo = trainer.forward(batch.lr).sr, trainer.teacher.target(batch.lr), batch.hr[..., 1:-1, 1:-1]
    expected = 0.7 * (sr - photo).square().mean() + 0.3 * (sr - target).square().mean()
    torch.testing.assert_close(minimised, expected)
    torch.testing.assert_close(reported, (sr - photo).abs().mean())


def test_decibels_are_those_of_each_depth(folder: Path) -> None:
    """Or the first blocks, whose errors are the largest, decide what all learn."""
    recipe = replace(RECIPE, stages=(replace(STAGES[1], loss="decibels", batch=4, shared_depth=2, full_share=0.5),))
    trainer = trainer_of(recipe, load_pairs(folder, 2))
    batch = trainer.sampler.batch(4, slice(0, 4))
    hr = batch.hr[..., 1:-1, 1:-1]

    def level(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        return 10 * ((sr - hr).square().mean() + 1).log10()

    def minimised(depths: StepDepths) -> tuple[torch.Tensor, torch.Tensor]:
        result = trainer.forward(batch.lr, depths)
        loss, _ = trainer._losses(recipe.stages[0], batch, batch.lr, depths)
        surprise = trainer._surprise(
            result, hr.repeat(len(result.sr) // 4, 1, 1, 1), torch.zeros(len(result.sr)).bool()
        )
        return loss - surprise, result.sr

    loss, sr = minimised(UniformDepths((1, 2)))
    torch.testing.assert_close(loss, (level(sr[:4], hr) + level(sr[4:], hr)) / 2)
    loss, sr = minimised(AdapterDepths(torch.full((4,), 0.5), 2, 1))
    torch.testing.assert_close(loss, (level(sr[::2], hr[::2]) + level(sr[1::2], hr[1::2])) / 2)


def test_a_teacher_of_full_weight_replaces_the_photo(folder: Path, tmp_path: Path) -> None:
    """A network that is its own teacher has nothing to learn, whatever the photos are."""
    checkpoints.save(build("adatiny", 2, 4).model(), tmp_path / "self.safetensors")
    stage = Stage(1, 2, 8, 1e-3, teacher=str(tmp_path / "self.safetensors"), teacher_weight=1.0)
    trainer = trainer_of(replace(RECIPE, stages=(stage,), start_from=stage.teacher), load_pairs(folder, 2))
    step = trainer.advance()
    assert step.loss > 1
    assert step.norm == 0


def test_a_trainer_leaves_the_random_numbers_of_the_process_alone(folder: Path) -> None:
    pairs, state = load_pairs(folder, 2), torch.get_rng_state()
    trainer = trainer_of(RECIPE, pairs)
    trainer.advance()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)  # and does not depend on them
    again = trainer_of(RECIPE, pairs)
    again.advance()
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)


@pytest.mark.parametrize("network", ["tiny-compact", "tiny-esrgan"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_networks_of_another_form_learn(network: str, optimizer: str, folder: Path) -> None:
    recipe = replace(RECIPE, network=network, depth_tile=1, optimizer=optimizer, stages=(Stage(20, 2, 8, 1e-3),))
    trainer = trainer_of(recipe, load_pairs(folder, 2))
    losses = [float(trainer.advance().loss) for _ in range(20)]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_texture_counts_differences_between_adjacent_pixels() -> None:
    hr = torch.full((1, 3, 4, 4), 100.0)
    assert texture(hr, hr) == 0
    assert texture(hr + 2, hr) == l1(hr + 2, hr)
    stripes = hr + torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert texture(stripes, hr) == pytest.approx(1 + 0.5 * 2)
    assert texture(stripes.transpose(2, 3), hr) == texture(stripes, hr)


def test_texture_ignores_what_no_picture_shows() -> None:
    """Beyond white and black lies no error and no gradient; a value from within pulls back."""
    hr = torch.tensor([0.0, 255.0]).view(1, 1, 1, 2).expand(1, 3, 2, 2)
    assert texture(hr + torch.tensor([-9.0, 9.0]), hr) == 0
    assert texture(hr + torch.tensor([9.0, -9.0]), hr) > 0
    beyond = torch.full((1, 3, 2, 2), -50.0, requires_grad=True)
    texture(beyond, torch.full((1, 3, 2, 2), 100.0)).backward()
    assert (beyond.grad < 0).all()
