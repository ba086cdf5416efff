"""A dense network becomes adaptive: from photos to a checkpoint and its report, resumed where it was interrupted."""

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adadsr import atomic, checkpoints
from adadsr.adaptation import Adaptation, adapt, adapting, presets, targets
from adadsr.adaptation.fidelity import (
    CUT_OFF,
    MAPS,
    ONE_DEPTH,
    TYPICAL_SIDE,
    WAYS,
    Figures,
    Point,
    budget_of_share,
    measure,
)
from adadsr.adaptation.photos import find_photos
from adadsr.adaptation.presets import choose_precision
from adadsr.adaptation.report import _curve, write_report
from adadsr.adaptation.targets import held_pairs, learned_pairs, upscaled
from adadsr.backends import prepare
from adadsr.errors import AdaDSRError, DatasetError, InputError, TrainingError
from adadsr.graph.price import body_macs, price
from adadsr.networks import Model, Network, NetworkConfig, layouts
from adadsr.training import Trainer
from adadsr.training.log import Entry, Progress
from adadsr.training.trainer import Step
from adadsr.training.validation import HIGHEST
from adaptation_samples import ESRGAN, TINY, tiny, write_network, write_photos
from upscaler_samples import model_of

__all__ = ["tiny"]  # a fixture


@pytest.fixture
def options(tmp_path: Path, tiny: object) -> Adaptation:
    network, photos = write_network(tmp_path / "dense.safetensors"), write_photos(tmp_path / "photos")
    return Adaptation(str(network), (photos,), tmp_path / "out", "quick", None, "float32", "cpu", tmp_path / "cache")


def quiet(what: str, share: float) -> None:
    """Nobody is told."""


def adaptive_copy(model: Model) -> Model:
    """A network with the weights of a dense one and a random adapter."""
    made = Network(replace(model.config, adaptive=True, depth_tile=4), torch.Generator().manual_seed(1)).model()
    return Model(made.config, {**made.tensors, **model.tensors})


def test_a_network_becomes_adaptive_and_gets_a_report(options: Adaptation) -> None:
    told: list[str] = []
    path, *report = adapt(options, lambda what, share: told.append(what))
    config = checkpoints.load(path).config
    assert config == replace(ESRGAN, adaptive=True, depth_tile=4, exits=True)
    metadata = checkpoints.read_header(path).metadata
    assert metadata["licence"] == "free"
    assert metadata["adapted_from"] == "dense"
    assert {file.name for file in report} >= {"report.md", "report.json", "curve.png", "crops-1.png"}
    content = json.loads((options.out / "report" / "report.json").read_text())
    assert content["pictures"] == 1
    assert set(content["psnr_y_to_full_output"]) == {"1.0", "0.75", "0.5", "0.25"}
    assert set(content["budget"]) == {"1.0", "0.75", "0.5", "0.25"}
    assert {"checking photos", "computing targets", "fitting closing convs", "measuring fidelity"} == set(told)


@pytest.mark.parametrize(
    "config",
    [NetworkConfig("esrgan", 2, 8, 2, growth=4, unshuffle=2), NetworkConfig("edsr", 2, 8, 2)],
    ids=["squares of pixels", "edsr"],
)
def test_other_networks_adapt(config: NetworkConfig, options: Adaptation, tmp_path: Path) -> None:
    write_network(tmp_path / "dense.safetensors", config)
    path, *_ = adapt(replace(options, steps=2), quiet)
    exits = config.backbone == "esrgan"
    assert checkpoints.load(path).config == replace(config, adaptive=True, depth_tile=4, exits=exits)


def test_a_new_backbone_of_residual_blocks_adapts(
    options: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(layouts.BACKBONES, "mine", layouts.BACKBONES["edsr"])
    write_network(tmp_path / "dense.safetensors", NetworkConfig("mine", 2, 8, 2))
    path, *_ = adapt(replace(options, steps=1), quiet)
    assert checkpoints.load(path).config.kind == "adamine"


def test_an_interrupted_adaptation_ends_as_an_undisturbed_one(options: Adaptation) -> None:
    whole = checkpoints.load(adapt(options, quiet)[0]).tensors
    again = replace(options, out=options.out.with_name("again"))
    with pytest.raises(KeyboardInterrupt):
        adapt(again, quiet, [interrupt])
    assert not (again.out / "model.safetensors").exists()
    resumed = checkpoints.load(adapt(again, quiet)[0]).tensors
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_adaptation_only_reports_again(options: Adaptation) -> None:
    before = adapt(options, quiet)[0].read_bytes()
    entries: list[Entry] = []
    adapt(options, quiet, [entries.append])
    assert not entries
    assert checkpoints.load(options.out / "model.safetensors").tensors.keys()
    assert len((options.out / "model.safetensors").read_bytes()) == len(before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 9}, "--steps 6, not 9"),
        ({"precision": "bfloat16", "steps": 7}, "--steps 6, not 7 and --precision float32, not bfloat16"),
        ({"preset": "cpu"}, "--preset quick, not cpu and --steps 6, not 6000"),
    ],
)
def test_other_options_do_not_resume(
    changes: dict[str, object], said: str, options: Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is said before anything is computed."""
    adapt(options, quiet)
    monkeypatch.setattr(adapting, "find_photos", None)
    with pytest.raises(InputError, match=f"out: the run here began with {said}; repeat its options to resume it, or"):
        adapt(replace(options, **changes), quiet)  # type: ignore[arg-type]


def test_a_run_of_another_version_does_not_resume(options: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(options, quiet)
    manifest = options.out / "state" / "state.json"
    for change, said in ((("warmup", 2), r"warmup differ"), (("later", 1), r"unknown key 'later'.*")):
        content = json.loads(manifest.read_text())
        content["about"]["recipe"] |= {"warmup": 2, change[0]: change[1] + 1}
        manifest.write_text(json.dumps(content))
        with pytest.raises(InputError, match=rf"out: the run here began with another version of adadsr \({said}\)"):
            adapt(options, quiet)


def test_a_preset_that_holds_out_more_photos_does_not_resume(
    options: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, images=(write_photos(tmp_path / "many", 12),))
    adapt(options, quiet)
    monkeypatch.setattr("adadsr.adaptation.adapting.PRESETS", {"quick": replace(TINY, held=1)})
    with pytest.raises(InputError, match="out: the run here began with other photos; pass those to --images, or"):
        adapt(options, quiet)


def interrupt(entry: Entry) -> None:
    """Between two validations."""
    if isinstance(entry, Progress) and entry.step == TINY.every:
        raise KeyboardInterrupt


def test_another_network_under_the_same_name_does_not_resume(options: Adaptation) -> None:
    """It would be a mixture of the two."""
    with pytest.raises(KeyboardInterrupt):
        adapt(options, quiet, [interrupt])
    model = model_of(ESRGAN)
    checkpoints.save(Model(model.config, {name: value + 1 for name, value in model.tensors.items()}), options.model)
    with pytest.raises(InputError, match=r"dense\.safetensors: is not the network that the run in .*out began with"):
        adapt(options, quiet)


def test_the_same_network_under_another_name_resumes(options: Adaptation, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        adapt(options, quiet, [interrupt])
    moved = Path(options.model).rename(tmp_path / "moved.safetensors")
    assert adapt(replace(options, model=str(moved)), quiet)[0].exists()


def test_advice_where_the_loss_diverges_names_options(options: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the recipe, which the user has never seen."""
    monkeypatch.setattr(Trainer, "advance", lambda self: Step(torch.tensor(math.nan), torch.tensor(1.0)))
    with pytest.raises(TrainingError, match="after 5 rollbacks; try --precision float32 or another --preset, with"):
        adapt(options, quiet)


def test_a_folder_belongs_to_one_adaptation_at_a_time(options: Adaptation) -> None:
    """From the photos to the report."""
    told: list[str] = []

    def start_second(what: str, share: float) -> None:
        with pytest.raises(TrainingError, match="out: another run is writing here"):
            adapt(options, quiet)
        told.append(what)

    adapt(options, start_second)
    assert {"checking photos", "computing targets", "measuring fidelity"} <= set(told)


def test_only_the_same_photos_resume_a_run(options: Adaptation) -> None:
    """With others, some that it learned from could be held out."""
    adapt(options, quiet)
    (photos,) = options.images
    moved = photos.rename(photos.with_name("moved"))
    (moved / "0.png").rename(moved / "z.png")
    assert adapt(replace(options, images=(moved,)), quiet)
    (moved / "1.png").unlink()
    for file in (options.out / "state").glob("*.safetensors"):
        file.unlink()  # which says nothing of the photos
    with pytest.raises(InputError, match="out: the run here began with other photos"):
        adapt(replace(options, images=(moved,)), quiet)


def test_targets_are_the_own_output_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(ESRGAN)
    engine, split = prepare(model.weights(), device="cpu"), find_photos((write_photos(tmp_path / "p"),), 16, 2, 0)
    cache = tmp_path / "cache"
    cache.mkdir()
    pairs = learned_pairs(engine, model.digest(), split, 16, 12, cache, quiet)
    assert {pair.reduction for pair in pairs} == {1, 2}
    with torch.no_grad():
        for pair in pairs:
            exact = Network.of(model)(pair.lr[None].float()).sr[0].clamp(0, 255)
            assert (pair.hr - exact).abs().max() <= 0.5 + 1e-2
    monkeypatch.setattr(targets, "upscaled", None)
    monkeypatch.setattr(targets, "cut", None)
    again = learned_pairs(engine, model.digest(), split, 16, 12, cache, quiet)
    assert all(torch.equal(pair.hr, other.hr) for pair, other in zip(pairs, again, strict=True))


def test_photos_held_out_are_never_learned_from_whatever_they_are_called(tmp_path: Path) -> None:
    split = find_photos((write_photos(tmp_path / "a", 12),), 16, 5, 0)
    assert len(split.held) == 2
    assert len({photo.digest for photo in (*split.learned, *split.held)}) == 12
    (tmp_path / "b").mkdir()
    for photo in (*split.learned, *split.held):
        photo.path.rename(tmp_path / "b" / f"z{photo.digest[:5]}.png")
    renamed = find_photos((tmp_path / "b",), 16, 5, 0)
    assert [photo.digest for photo in renamed.held] == [photo.digest for photo in split.held]


def test_at_full_depth_an_untrained_copy_is_the_original(tmp_path: Path) -> None:
    model = model_of(ESRGAN)
    engine = prepare(model.weights(), device="cpu")
    held = held_pairs(engine, find_photos((write_photos(tmp_path / "p"),), 16, 2, 0))
    figures = measure(model, adaptive_copy(model), held, "cpu")
    for way in (MAPS, ONE_DEPTH, CUT_OFF):
        assert figures.at(way, 1.0) == HIGHEST
        assert [point.share for point in figures.curves[way]] == sorted(point.share for point in figures.curves[way])
    assert figures.at(ONE_DEPTH, 0.5) == pytest.approx(figures.at(CUT_OFF, 0.5), abs=1e-6)
    assert all(share <= 0.5 + 1e-9 for share, _ in figures.curves[MAPS][1:2])


@pytest.mark.parametrize("config", [ESRGAN, NetworkConfig("esrgan", 2, 8, 2, growth=4, unshuffle=2)])
def test_the_budget_of_a_share_is_what_a_map_costs(config: NetworkConfig) -> None:
    network = adaptive_copy(model_of(config)).weights()
    side = TYPICAL_SIDE // network.square
    for depth in range(network.n_blocks):
        depth_map = np.full(network.map_shape(side, side), depth, np.float32)
        share = body_macs(network.body, side, side, depth_map[None]) / body_macs(network.body, side, side)
        cost = price(network, side, side, depth_map).total / price(network, side, side).total
        assert budget_of_share(network, share) == pytest.approx(cost)
    assert budget_of_share(network, 1.0) == 1


def test_equal_pictures_have_no_decibels_in_the_report(tmp_path: Path) -> None:
    curve = (Point(0.25, 29.0), Point(0.5, 30.0), Point(0.75, 31.5), Point(1.0, HIGHEST))
    figures = Figures(dict.fromkeys(WAYS, curve), (), 10, 4, {1.0: 1.0, 0.75: 0.834, 0.5: 0.6, 0.25: 0.4})
    write_report(tmp_path, figures, "anime")
    text = (tmp_path / "report.md").read_text()
    assert "Mean PSNR-Y in dB to the dense network's full output on 10 held-out photos." in text
    assert "| 100% (1.00) | equal | equal | the reference |\n| 75% (0.83) | 31.50 | 31.50 | 31.50 |" in text
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["psnr_y_to_full_output"]["1.0"] == dict.fromkeys(WAYS)
    assert content["curves"][MAPS][-2:] == [{"share": 0.75, "psnr": 31.5}, {"share": 1.0, "psnr": None}]
    assert content["budget"]["0.75"] == 0.834


def test_the_cap_of_equal_pictures_is_not_drawn() -> None:
    curve = (Point(0.5, 30.0), Point(1.0, HIGHEST))
    lines = _curve(Figures(dict.fromkeys(WAYS, curve), (), 1, 2, {}), "anime").axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[30.0]] * 3
    assert [line.get_label() for line in lines] == [f"{MAPS} (equal at 100%)", f"{ONE_DEPTH} (equal at 100%)", CUT_OFF]


def test_figures_lie_between_points() -> None:
    figures = Figures({MAPS: (Point(0.0, 20.0), Point(0.5, 30.0), Point(1.0, 50.0))}, (), 1, 2, {})
    assert figures.at(MAPS, 0.75) == pytest.approx(40.0)


def test_nothing_is_claimed_between_a_figure_and_equality(tmp_path: Path) -> None:
    curve = (Point(0.0, 20.0), Point(0.5, 30.0), Point(1.0, HIGHEST))
    figures = Figures(dict.fromkeys(WAYS, curve), (), 1, 2, {1.0: 1.0, 0.75: 0.8, 0.5: 0.6, 0.25: 0.4})
    assert [figures.at(MAPS, share) for share in (0.25, 0.504, 0.6, 1.0)] == [25.0, 30.0, None, HIGHEST]
    write_report(tmp_path, figures, "two blocks")
    assert "| 75% (0.80) | - | - | - |" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["psnr_y_to_full_output"]["0.75"] == {}


def test_batches_of_squares(tmp_path: Path) -> None:
    model = model_of(NetworkConfig("esrgan", 2, 8, 1, growth=4, unshuffle=2))
    lr = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 3), np.uint8)
    with torch.no_grad():
        exact = Network.of(model)(torch.from_numpy(lr).permute(0, 3, 1, 2).float()).sr.permute(0, 2, 3, 1).numpy()
    assert np.abs(upscaled(prepare(model.weights(), device="cpu"), lr) - exact.clip(0, 255)).max() <= 0.5 + 1e-2


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (NetworkConfig("edsr", 2, 8, 2, adaptive=True, depth_tile=4), r"\(adaedsr x2 .*\) is adaptive already"),
        (NetworkConfig("compact", 2, 8, 2), r"\(compact x2 .*\): its blocks add nothing to their input"),
    ],
)
def test_networks_that_cannot_be_adapted(config: NetworkConfig, said: str, options: Adaptation) -> None:
    write_network(Path(options.model), config)
    with pytest.raises(InputError, match=said):
        adapt(options, quiet)


def test_unreadable_photos_are_all_named(options: Adaptation) -> None:
    """Also one whose header is sound; without advice to pass options that the command lacks."""
    folder = options.images[0]
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    whole = (folder / "0.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("text")
    with pytest.raises(
        DatasetError, match=r"(?s)3 of the inputs cannot be used.*broken\.png.*short\.png.*text\.jpg"
    ) as caught:
        adapt(options, quiet)
    assert "pass --" not in str(caught.value)


def test_photos_are_decoded_once_for_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, cache = (write_photos(tmp_path / "p"),), tmp_path / "cache"
    cache.mkdir()
    told: list[float] = []
    split = find_photos(sources, 16, 2, 0, cache, tell=lambda what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1
    monkeypatch.setattr("adadsr.adaptation.photos.read_image", None)
    assert find_photos(sources, 16, 2, 0, cache) == split


def test_the_output_folder_may_lie_among_the_photos(options: Adaptation) -> None:
    """The pictures of its report are no photos."""
    options = replace(options, out=options.images[0] / "out")
    adapt(options, quiet)
    assert adapt(options, quiet)


def test_the_folder_of_the_photos_is_no_output_folder(options: Adaptation) -> None:
    """And nothing is written there before that is said."""
    before = sorted(options.images[0].iterdir())
    with pytest.raises(InputError, match="photos: holds the photos; choose another folder for --out"):
        adapt(replace(options, out=options.images[0]), quiet)
    assert sorted(options.images[0].iterdir()) == before


def test_too_few_photos(options: Adaptation, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "few", 3)
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    Image.new("RGB", (15, 40)).save(photos / "small.png")
    with pytest.raises(DatasetError, match="3 different photos of at least 16x16 pixels; pass 4 or more"):
        adapt(replace(options, images=(photos,)), quiet)
    with pytest.raises(DatasetError, match="1 different photo of at least 16x16 pixels"):
        adapt(replace(options, images=(photos / "0.png",)), quiet)


def test_what_is_left_out_is_named(options: Adaptation) -> None:
    Image.new("RGB", (15, 40)).save(options.images[0] / "small.png")
    for name in ("a.cr2", "b.nef", "film.mov"):
        (options.images[0] / name).write_bytes(b"x")
    told: list[str] = []
    adapt(replace(options, steps=1), lambda what, share: told.append(what))
    assert f"left out {options.images[0] / 'small.png'}: smaller than 16x16" in told
    assert "left out: 2 camera raw files (.cr2, .nef), 1 video (.mov)" in told


def test_a_folder_without_photos(options: Adaptation, tmp_path: Path) -> None:
    with pytest.raises(AdaDSRError, match="nowhere"):
        adapt(replace(options, images=(tmp_path / "nowhere",)), quiet)


@pytest.mark.parametrize("place", ["out", "cache"])
def test_folders_that_cannot_be_written(place: str, options: Adaptation) -> None:
    file = Path(options.model)
    with pytest.raises(TrainingError, match=f"folder is not writable .*; choose another --{place}"):
        adapt(replace(options, **{place: file / "folder"}), quiet)


@pytest.mark.parametrize("full", ["cache", "report"])
def test_a_full_disk_ends_with_what_to_do(full: str, options: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is complete stays; the repeated command goes on from there."""
    replacing = atomic.replacing

    def filled(path: Path):  # type: ignore[no-untyped-def]
        if full in Path(path).parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replacing(path)

    monkeypatch.setattr(atomic, "replacing", filled)
    with pytest.raises(AdaDSRError, match="No space left on device"):
        adapt(options, quiet)
    monkeypatch.undo()
    monkeypatch.setattr("adadsr.adaptation.adapting.PRESETS", {"quick": TINY})
    assert adapt(options, quiet)[0].exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "slow"}, "preset 'slow' is not one of cpu, accelerator, quick"),
        ({"steps": 0}, "steps=0 is not a whole number of at least 1"),
        ({"precision": "int8"}, "precision 'int8' is not one of auto, float32, bfloat16"),
    ],
)
def test_wrong_options(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Adaptation("m", (), Path("o"), **changes)  # type: ignore[arg-type]


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for has, chosen in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"amx_bf16": has})
        assert choose_precision("auto", cpu) == chosen
    assert choose_precision("auto", torch.device("cuda")) == "bfloat16"
    assert choose_precision("float32", torch.device("cuda")) == "float32"
    with pytest.raises(InputError, match="precision 'int8' is not one of auto, float32, bfloat16"):
        choose_precision("int8", cpu)


def test_presets_make_recipes() -> None:
    for preset in presets.PRESETS.values():
        recipe = preset.recipe("dense.safetensors", ESRGAN, "float32")
        assert recipe.config == replace(ESRGAN, adaptive=True, depth_tile=4, exits=True)
        assert sum(stage.steps for stage in recipe.stages) == preset.steps
        assert recipe.from_dict(json.loads(json.dumps(recipe, default=vars))) == recipe
