"""Recipes check themselves."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from adadsr import checkpoints
from adadsr.datasets import load_pairs
from adadsr.errors import InputError
from adadsr.networks import NetworkConfig
from adadsr.training import Recipe, Stage
from training_samples import RECIPE, STAGES, build, trainer_of, write_photos


def test_the_shipped_recipes_can_be_read() -> None:
    paths = [p for p in (Path(__file__).parents[1] / "recipes").rglob("*.yaml") if p.parent.name != "ablations"]
    assert paths
    for path in paths:
        assert Recipe.from_yaml(path).stages


WHOLE = "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 1, batch: 1, patch: 8, learning_rate: 1e-3}]}"


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 takes them for text."""
    for number in ("1e-3", "1E-3", "1.e-3", "1.0e-3", "0.001", "10e-4"):
        (tmp_path / "r.yaml").write_text(WHOLE.replace("1e-3", number))
        assert Recipe.from_yaml(tmp_path / "r.yaml").stages[0].learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected `key: value` lines; docs/training.md lists the keys"),
        ("- 1", "expected `key: value` lines, got [1]; docs/training.md lists the keys"),
        ("network: edsr", "missing keys: scale, depth_tile, stages"),
        (WHOLE.replace("scale", "scales"), "unknown key 'scales'; did you mean 'scale'?"),
        (WHOLE.replace("scale", "lr: 9, scale"), "unknown key 'lr'; docs/training.md lists the keys"),
        (WHOLE.replace("scale", "3: 9, scale"), "unknown key 3; docs/training.md lists the keys"),
        (WHOLE.replace("[{", "[{step: 1, "), "stage 1: unknown key 'step'; did you mean 'steps'?"),
        (WHOLE.replace("}]", "}, {steps: 1}]"), "stage 2: missing keys: batch, patch, learning_rate"),
        (WHOLE.replace("}]", "}, 3]"), "stage 2: expected `key: value` lines, got 3"),
        (WHOLE.replace("[{", "{").replace("}]", "}"), "stages={'steps': 1, "),
        (WHOLE.replace("scale", "sizes: 3, scale"), "sizes: expected `key: value` lines, got 3"),
        (WHOLE.replace("scale", "sizes: {backbone: edsr}, scale"), "sizes: missing keys: scale"),
        (WHOLE.replace("adatiny", "tiny"), "depth_tile=4 needs an adaptive network; use adatiny or depth_tile: 1"),
        (WHOLE.replace("adatiny", "esrgan"), "depth_tile=4 needs an adaptive network; use depth_tile: 1"),
        *(
            (WHOLE.replace("adatiny", "tiny").replace("depth_tile: 4", f"depth_tile: {value}"), f"depth_tile={said}")
            for value, said in (("0", "0 is not"), ("2", "2 is not"), ("a", "'a' must"), ("2.0", "2.0 must"))
        ),
    ],
)
def test_an_error_names_the_part_and_the_key(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=re.escape(f"r.yaml: {said}")):
        Recipe.from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("steps: 0", "steps=0 is not a whole number of at least 1"),
        ("batch: -1", "batch=-1 is not a whole number"),
        ("patch: 8.0", "patch=8.0 is not a whole number"),
        ("learning_rate: x", "learning_rate='x' is not a number above 0"),
        ("learning_rate: .nan", "learning_rate=nan is not"),
        ("adaptive: 1", "adaptive=1 is not true or false"),
        ("augment: 0", "augment=0 is not true or false"),
        ("depth_weight: -1", "depth_weight=-1 is not"),
        ("train: tail", "train='tail' is not one of"),
        ("train: adapter", "train: adapter needs an adaptive stage"),
        ("train: exits", "train: exits needs an adaptive stage"),
        ("full_share: 2", "full_share=2 is not"),
        ("least_share: 0", "least_share=0 is not"),
        ("schedule: flat", "schedule='flat' is not one of ('cosine', 'step')"),
        ("loss: l3", "loss='l3' is not one of ('l1', 'l2', 'decibels', 'image_decibels', 'texture')"),
        ("uniform_share: -0.1", "uniform_share=-0.1 is not a number in [0, 1)"),
        ("uniform_share: 1", "uniform_share=1 is not a number in [0, 1), since at 1 no step would use the adapter"),
        ("teacher: 3", "teacher=3 is not the path of a checkpoint or a name"),
        ("teacher_weight: 0.3", "teacher_weight=0.3 without a teacher; add teacher: NAME"),
        ("teacher_megapixels: -1", "teacher_megapixels=-1 is not a number of at least 0"),
        ("teacher_megapixels: 2", "teacher_megapixels=2 without a teacher; add teacher: NAME"),
        ("uniform_share: 0.5", "uniform_share need an adaptive stage; add adaptive: true"),
        ("photo_share: 1.5", "photo_share=1.5 is not a number in [0, 1]"),
        ("exits: 0", "exits=0 is not a whole number of at least 1"),
        ("exits: 2", "exits=2 belongs to steps at one depth everywhere; add uniform_share"),
    ],
)
def test_a_stage_checks_itself(text: str, what: str, tmp_path: Path) -> None:
    stage = {"steps": "1", "batch": "1", "patch": "8", "learning_rate": "1.0"} | dict([text.split(": ")])
    stages = ", ".join(f"{name}: {value}" for name, value in stage.items())
    (tmp_path / "r.yaml").write_text(f"{{network: adatiny, scale: 2, depth_tile: 4, stages: [{{{stages}}}]}}")
    with pytest.raises(InputError, match=rf"r\.yaml: stage 1: {re.escape(what)}"):
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
        ("compile", 1),
        ("optimizer", "sgd"),
        ("photo_reductions", ()),
        ("photo_reductions", (2, 1)),
        ("photo_reductions", (1, 1)),
        ("photo_reductions", (0, 1)),
        ("photo_reductions", (True,)),
        ("valid_reductions", (1, 17)),
        ("valid_reductions", 2),
    ],
)
def test_a_recipe_checks_itself(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        replace(RECIPE, **{name: value})


def test_reductions_are_read_and_survive_a_state(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "{network: adatiny, scale: 2, depth_tile: 4, photo_reductions: [1, 3], valid_reductions: [2],"
        " stages: [{steps: 1, batch: 1, patch: 8, learning_rate: 1.0}]}"
    )
    recipe = Recipe.from_yaml(tmp_path / "r.yaml")
    assert (recipe.photo_reductions, recipe.valid_reductions) == ((1, 3), (2,))
    assert Recipe.from_dict(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_contradictory_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="network='tiny' has no adapter, which adaptive stages need; use adatiny"):
        Recipe("tiny", 2, 1, STAGES)
    with pytest.raises(InputError, match=r"stage 2: .*adaptive stages need; drop adaptive: true, or run adadsr adapt"):
        Recipe("esrgan", 2, 1, STAGES)
    with pytest.raises(InputError, match="cuda_graphs requires compile: true"):
        replace(RECIPE, cuda_graphs=True)
    checkpoints.save(build("tiny", 3).model(), tmp_path / "teacher.safetensors")
    stage = replace(STAGES[1], teacher=str(tmp_path / "teacher.safetensors"))
    with pytest.raises(
        InputError, match=r"teacher=.*teacher\.safetensors is x3, the recipe x2; use a teacher of x2, or"
    ):
        trainer_of(replace(RECIPE, stages=(stage,)), load_pairs(write_photos(tmp_path / "photos"), 2))


def test_a_file_that_is_not_a_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("stages: [\n")
    with pytest.raises(InputError, match=r"r\.yaml: not valid YAML \("):
        Recipe.from_yaml(tmp_path / "r.yaml")
    with pytest.raises(InputError, match=r"none\.yaml: cannot read \(No such file"):
        Recipe.from_yaml(tmp_path / "none.yaml")


def test_what_only_one_kind_of_adapter_can_is_refused_for_the_other() -> None:
    alone = Stage(1, 1, 8, 1.0, adaptive=True, train="adapter")
    with pytest.raises(InputError, match="exits=1 shows an adapter that learns alone nothing"):
        replace(alone, uniform_share=0.5)
    with pytest.raises(InputError, match="teacher=x has no effect with train: adapter"):
        replace(alone, teacher="x")
    with pytest.raises(InputError, match="depth_weight needs depth_tile: 1"):
        Recipe("adatiny", 2, 4, (replace(alone, depth_weight=0.1),))
    with pytest.raises(InputError, match="uniform_share teaches an adapter with depth_tile: 1 nothing; drop it"):
        Recipe("adatiny", 2, 1, (replace(alone, uniform_share=0.5, exits=4),))
    with pytest.raises(InputError, match="train: exits needs a network that has exits"):
        Recipe("adatiny", 2, 4, (replace(alone, train="exits"),))


def test_a_network_without_a_name_is_given_by_its_sizes(tmp_path: Path) -> None:
    sizes = NetworkConfig("esrgan", 1, 6, 3, adaptive=True, depth_tile=4, growth=2, unshuffle=2)
    text = json.dumps(asdict(replace(RECIPE, network="adaesrgan", scale=1, sizes=sizes)))
    (tmp_path / "r.yaml").write_text(text)
    assert Recipe.from_yaml(tmp_path / "r.yaml").config == sizes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "adaedsr"}, "not those of sizes: ('adaesrgan', 1, 4)"),
        ({"scale": 2}, "not those of sizes: ('adaesrgan', 1, 4)"),
        ({"sizes": 3}, "r.yaml: "),
        ({"sizes": {"backbone": "esrgan", "scale": 5}}, "scale=5 is not one of"),
    ],
)
def test_sizes_are_checked(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    sizes = NetworkConfig("esrgan", 1, 6, 3, adaptive=True, depth_tile=4, growth=2)
    given = asdict(replace(RECIPE, network="adaesrgan", scale=1, sizes=sizes)) | changes
    (tmp_path / "r.yaml").write_text(json.dumps(given))
    with pytest.raises(InputError, match=re.escape(said)):
        Recipe.from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize("square", [1, 2, 4])
@pytest.mark.parametrize("tile", [1, 4])
@pytest.mark.parametrize("patch", range(1, 21))
def test_a_patch_trains_or_is_refused_at_once(square: int, tile: int, patch: int, tmp_path: Path) -> None:
    sizes = NetworkConfig("esrgan", 2, 4, 2, adaptive=tile > 1, depth_tile=tile, growth=2, unshuffle=square)
    stage = replace(STAGES[tile > 1], patch=patch, loss="texture")
    given = asdict(replace(RECIPE, network=sizes.kind, depth_tile=tile, stages=(STAGES[0],), sizes=sizes))
    given |= {"stages": [asdict(stage)]}
    if patch % square or patch < max(2, tile * square):
        with pytest.raises(InputError, match=f"stage 1: patch={patch} does not suit this network; use "):
            Recipe.from_dict(given)
    else:
        trainer = trainer_of(Recipe.from_dict(given), load_pairs(write_photos(tmp_path / "photos"), 2))
        assert torch.isfinite(trainer.advance().norm)


@pytest.mark.parametrize("n_feats", [2, 3])
def test_the_narrowest_networks_train(n_feats: int, tmp_path: Path) -> None:
    sizes = NetworkConfig("edsr", 3, n_feats, 1)
    recipe = Recipe("edsr", 3, 1, (STAGES[0],), sizes=sizes)
    assert torch.isfinite(trainer_of(recipe, load_pairs(write_photos(tmp_path / "photos"), 3)).advance().norm)


def test_photos_cannot_teach_a_network_that_does_not_enlarge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scale=1: LR would equal HR"):
        load_pairs(write_photos(tmp_path / "photos"), 1)
