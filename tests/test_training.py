"""The training loop: it learns, resumes exactly, and refuses what does not fit."""

import math
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adadsr import checkpoints
from adadsr.checkpoints import sources
from adadsr.datasets import Pair, PatchSampler, load_pairs
from adadsr.errors import DatasetError, InputError
from adadsr.losses import depth_excess, l1
from adadsr.models import CONFIGS, Network, NetworkConfig, build, named_config
from adadsr.resize import bicubic_downscale, resize_tensor
from adadsr.training import Recipe, Stage, Trainer, interpolating_init, run, start_from, validate
from adadsr.training import __main__ as command
from adadsr.training.depths import desired_depths, hardness
from adadsr.training.recipe import PRECISIONS
from training_samples import RECIPE, STAGES, write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def test_pairs_are_the_bicubic_of_the_whole_image(folder: Path) -> None:
    pairs = load_pairs(folder, 2)
    assert [tuple(pair.hr.shape) for pair in pairs] == [(3, 40, 44), (3, 36, 50)]
    for pair in pairs:
        expected = bicubic_downscale(pair.hr.permute(1, 2, 0).numpy(), 2)
        np.testing.assert_array_equal(pair.lr.permute(1, 2, 0).numpy(), expected)


def test_patches_of_lr_and_hr_show_the_same_place() -> None:
    hr = torch.arange(3 * 40 * 48).reshape(3, 40, 48) % 251
    lr = hr[:, ::2, ::2]
    sampler = PatchSampler([Pair(lr.byte(), hr.byte())], 2, 6, torch.Generator().manual_seed(3))
    batch = sampler.batch(32)
    assert batch.lr.shape == (32, 3, 6, 6)
    assert batch.hr.shape == (32, 3, 12, 12)
    for small, large in zip(batch.lr, batch.hr, strict=True):
        corners = [large[:, top::2, left::2] for top in (0, 1) for left in (0, 1)]
        assert any(torch.equal(small, corner) for corner in corners)


def test_every_flip_and_turn_occurs() -> None:
    image = torch.arange(3 * 6 * 6).reshape(3, 6, 6).byte()
    pair = Pair(image, image)
    sampler = PatchSampler([pair], 1, 6, torch.Generator().manual_seed(0))
    assert len({tuple(patch.flatten().tolist()) for patch in sampler.batch(200).lr}) == 8


def test_losses_are_what_they_say() -> None:
    assert l1(torch.full((1, 3, 2, 2), 3.0), torch.zeros(1, 3, 2, 2)) == 3
    maps = torch.tensor([2.0, 5.0]).view(2, 1, 1, 1)
    assert depth_excess(maps, torch.tensor([4.0, 4.0])) == 0.5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_fresh_network_is_a_bilinear_enlargement(scale: int) -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig("edsr", scale, 64, 4))
    interpolating_init(network)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(20.0), indexing="ij")
    lr = (128 + 80 * torch.sin(rows / 4) * torch.cos(columns / 5)).expand(1, 3, -1, -1)
    with torch.inference_mode():
        difference = network(lr).sr - resize_tensor(lr, scale)
    assert difference[..., 8:-8, 8:-8].abs().mean() < 4


def test_training_lowers_the_loss_and_ends_in_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    pairs = load_pairs(folder, 2)
    recipe = replace(RECIPE, stages=(replace(STAGES[0], steps=60), replace(STAGES[1], steps=20)))
    trainer = Trainer(recipe, pairs, torch.device("cpu"))
    before = validate(trainer.network, pairs)[1.0]
    run(trainer, pairs, tmp_path / "out", every=20)
    network = checkpoints.load(tmp_path / "out" / "model.safetensors")
    assert validate(network, pairs)[1.0] > before + 1
    assert math.isfinite(validate(network, pairs)[0.25])


OPTIONS = {
    "published": {"depth_weight": 0.01},
    "distilled": {"teacher": "teacher.safetensors", "teacher_weight": 0.3},
    "whole blocks": {"gates": "straight_through", "adapter_rate": 3.0},
    "annealed": {"gates": "annealed", "sandwich": True, "least_share": 0.3},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_killed_run_goes_on_with_the_same_losses(
    name: str, precision: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(Network(CONFIGS["tiny"]), tmp_path / "teacher.safetensors")
    checkpoints.save(Network(named_config("adatiny", 2, 4)), tmp_path / "start.safetensors")
    pairs, steps = load_pairs(folder, 2), 6
    stage = Stage(steps, 3, 8, 1e-3, adaptive=True, **OPTIONS[name])
    recipe = replace(RECIPE, stages=(stage,), precision=precision, conditioned=True, start_from="start.safetensors")

    def trainer() -> Trainer:
        made = Trainer(recipe, pairs, torch.device("cpu"))
        made.begin(stage)
        return made

    whole, first, second = trainer(), trainer(), trainer()
    expected = [whole.advance(stage) for _ in range(steps)]
    for _ in range(steps // 2):
        first.advance(stage)
    first.save(tmp_path / "state.pt")
    second.load(tmp_path / "state.pt")
    rest = [second.advance(stage) for _ in range(steps - steps // 2)]
    assert rest == expected[steps // 2 :]
    assert all(math.isfinite(loss) for loss in expected)


def test_a_run_starts_from_a_plain_or_adaptive_checkpoint(tmp_path: Path) -> None:
    plain = Network(NetworkConfig("edsr", 2, 8, 2))
    checkpoints.save(plain, tmp_path / "plain.safetensors")
    checkpoints.save(build("adatiny", 2, 4), tmp_path / "adaptive.safetensors")
    recipe = replace(RECIPE, start_from=str(tmp_path / "plain.safetensors"))
    network = Trainer(recipe, [], torch.device("cpu")).network
    for name, tensor in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    start_from(plain, str(tmp_path / "adaptive.safetensors"))
    adaptive = checkpoints.load(tmp_path / "adaptive.safetensors")
    assert all(torch.equal(tensor, adaptive.state_dict()[name]) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize("config", [NetworkConfig("edsr", 3, 8, 2), NetworkConfig("edsr", 2, 8, 3)])
def test_a_start_from_another_network_is_refused(config: NetworkConfig, tmp_path: Path) -> None:
    checkpoints.save(Network(config), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"start_from=.*other\.safetensors: .* is not that of the recipe's network"):
        Trainer(replace(RECIPE, start_from=str(tmp_path / "other.safetensors")), [], torch.device("cpu"))


def test_bfloat16_steps_keep_float32_weights_and_nearly_the_loss(folder: Path) -> None:
    pairs = load_pairs(folder, 2)
    losses = []
    for precision in PRECISIONS:
        trainer = Trainer(replace(RECIPE, precision=precision), pairs, torch.device("cpu"))
        trainer.begin(STAGES[1])
        losses.append(trainer.advance(STAGES[1]))
        assert {tensor.dtype for tensor in trainer.network.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("every", ["0", "-1", "many"])
def test_every_is_checked(
    every: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["training", "r.yaml", "--train", "a", "--valid", "b", "--out", str(tmp_path / "out"), f"--every={every}"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        command.main()
    assert f"'{every}' is not a whole number of at least 1" in capsys.readouterr().err


def test_a_state_of_another_recipe_is_refused(folder: Path, tmp_path: Path) -> None:
    pairs = load_pairs(folder, 2)
    Trainer(RECIPE, pairs, torch.device("cpu")).save(tmp_path / "state.pt")
    other = Trainer(replace(RECIPE, seed=9), pairs, torch.device("cpu"))
    with pytest.raises(InputError, match=r"state\.pt: belongs to another recipe"):
        other.load(tmp_path / "state.pt")


def test_the_shipped_recipes_can_be_read() -> None:
    paths = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
    assert paths
    for path in paths:
        assert Recipe.from_yaml(path).stages


@pytest.mark.parametrize("text", ["stages: []\nnetwork: edsr\nspeed: 9", "network: edsr", "[]", "- 1"])
def test_an_unknown_or_missing_key_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=r"r\.yaml"):
        Recipe.from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("steps: 0", "steps=0 is not a whole number of at least 1"),
        ("batch: -1", "batch=-1 is not a whole number"),
        ("patch: 8.0", "patch=8.0 is not a whole number"),
        ("learning_rate: x", "learning_rate='x' is not a number above 0"),
        ("learning_rate: 1e-3", "learning_rate='1e-3' is not a number"),  # YAML wants 1.0e-3
        ("learning_rate: .nan", "learning_rate=nan is not"),
        ("adaptive: 1", "adaptive=1 is not true or false"),
        ("depth_weight: -1", "depth_weight=-1 is not"),
        ("full_share: 2", "full_share=2 is not"),
        ("least_share: 0", "least_share=0 is not"),
        ("gates: hard", "gates='hard' is not one of ('soft', 'annealed', 'straight_through')"),
        ("sandwich: 1", "sandwich=1 is not true or false"),
        ("adapter_rate: 0", "adapter_rate=0 is not a number above 0"),
        ("teacher: 3", "teacher=3 is not the path of a checkpoint or a name"),
        ("teacher_weight: 0.3", "teacher_weight=0.3: no teacher is given"),
        ("gates: annealed", "gates: only an adaptive stage has that; add adaptive: true"),
    ],
)
def test_a_stage_checks_itself(text: str, what: str, tmp_path: Path) -> None:
    stage = {"steps": "1", "batch": "1", "patch": "8", "learning_rate": "1.0"} | dict([text.split(": ")])
    stages = ", ".join(f"{name}: {value}" for name, value in stage.items())
    (tmp_path / "r.yaml").write_text(f"{{network: adatiny, scale: 2, depth_tile: 4, stages: [{{{stages}}}]}}")
    with pytest.raises(InputError, match=rf"r\.yaml: {re.escape(what)}"):
        Recipe.from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", ""),
        ("scale", 5),
        ("depth_tile", 2),
        ("stages", ()),
        ("seed", -1),
        ("ema_decay", 1.0),
        ("clip_norm", 0),
        ("warmup", 0),
        ("start_from", 1),
        ("precision", "float16"),
    ],
)
def test_a_recipe_checks_itself(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        replace(RECIPE, **{name: value})


def test_a_contradictory_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="network='tiny' has no adapter for an adaptive stage; take adatiny"):
        Recipe("tiny", 2, 1, STAGES)
    with pytest.raises(InputError, match="conditioned=True needs an adaptive network with depth_tile=4"):
        Recipe("adatiny", 2, 1, STAGES, conditioned=True)
    with pytest.raises(InputError, match="sandwich=True needs a batch of at least 2"):
        replace(STAGES[1], sandwich=True, batch=1)
    checkpoints.save(build("tiny", 3), tmp_path / "teacher.safetensors")
    trainer = Trainer(RECIPE, [Pair(torch.zeros(3, 8, 8).byte(), torch.zeros(3, 16, 16).byte())], torch.device("cpu"))
    with pytest.raises(InputError, match=r"teacher=.*teacher\.safetensors: enlarges x3, the recipe x2"):
        trainer.begin(replace(STAGES[1], teacher=str(tmp_path / "teacher.safetensors")))


def test_depths_are_sampled_as_the_stage_says() -> None:
    generator = torch.Generator().manual_seed(0)
    stage = Stage(1, 4000, 8, 1e-3, adaptive=True, full_share=0.3, least_share=0.2)
    shares = desired_depths(stage, 16, generator) / 16
    assert float(shares.min()) == pytest.approx(0.2, abs=0.01)
    assert float((shares == 1).float().mean()) == pytest.approx(0.3, abs=0.03)
    shares = desired_depths(replace(stage, batch=8, sandwich=True), 16, generator) / 16
    assert int((shares == 1).sum()) == 2
    assert float(shares.min()) == pytest.approx(0.2)


def test_gates_harden_over_an_annealed_stage() -> None:
    stage = Stage(11, 1, 8, 1e-3, adaptive=True, gates="annealed")
    assert [hardness(stage, step) for step in (0, 5, 10)] == [0, 0.5, 1]
    assert hardness(replace(stage, gates="soft"), 10) == 0
    assert hardness(replace(stage, gates="straight_through"), 0) == 1


def test_a_teacher_of_full_weight_replaces_the_photo(folder: Path, tmp_path: Path) -> None:
    """A network that is its own teacher has nothing to learn, whatever the photos are."""
    checkpoints.save(build("adatiny", 2, 4), tmp_path / "self.safetensors")
    stage = Stage(1, 2, 8, 1e-3, teacher=str(tmp_path / "self.safetensors"), teacher_weight=1.0)
    recipe = replace(RECIPE, stages=(stage,), start_from=stage.teacher)
    trainer = Trainer(recipe, load_pairs(folder, 2), torch.device("cpu"))
    trainer.begin(stage)
    assert trainer.advance(stage) > 1
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in trainer.network.parameters())


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("stages: [\n")
    with pytest.raises(InputError, match=r"r\.yaml: is no YAML \("):
        Recipe.from_yaml(tmp_path / "r.yaml")
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file"):
        Recipe.from_yaml(tmp_path / "none.yaml")


def test_bundling_stores_the_recipe_the_photos_and_what_is_reached(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = Path(__file__).parents[1] / "recipes"
    checkpoints.save(build("adatiny", 2, 4), tmp_path / "model.safetensors")
    (tmp_path / "r.yaml").write_text(
        "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 1, batch: 1, patch: 8, learning_rate: 1}]}"
    )
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    given = ["bundle.py", tmp_path / "r.yaml", tmp_path / "model.safetensors", "--valid", folder]
    monkeypatch.setattr("sys.argv", [*map(str, given), "--trained-on", "two photos of ours"])
    runpy.run_path(str(recipes / "bundle.py"), run_name="__main__")
    (bundled,) = [model for model in checkpoints.bundled_models() if model.name == "adatiny-x2"]
    assert bundled.metadata["trained on"] == "two photos of ours"
    assert "dB at full depth" in bundled.metadata["PSNR-Y on validation"]


def test_folders_without_use_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images"):
        load_pairs(tmp_path / "empty", 2)
    with pytest.raises(DatasetError, match="LR side of 99 pixels"):
        PatchSampler(load_pairs(folder, 2), 2, 99, torch.Generator())
    Image.new("RGB", (9, 1)).save(folder / "thin.png")
    with pytest.raises(DatasetError, match=r"thin\.png: 9x1 pixels are too few for x2"):
        load_pairs(folder, 2)
    (folder / "thin.png").unlink()
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"broken\.png: cannot be read"):
        load_pairs(folder, 2)
