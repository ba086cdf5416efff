"""Recipes check themselves."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

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
    with pytest.raises(InputError, match="cuda_graphs requires compile: true"):
        replace(RECIPE, cuda_graphs=True)
    checkpoints.save(build("tiny", 3).model(), tmp_path / "teacher.safetensors")
    stage = replace(STAGES[1], teacher=str(tmp_path / "teacher.safetensors"))
    with pytest.raises(InputError, match=r"teacher=.*teacher\.safetensors is x3, the recipe x2"):
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
