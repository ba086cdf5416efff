"""A dense network becomes adaptive: from photos to a checkpoint and its report, resumed where it was interrupted."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adadsr import atomic, checkpoints
from adadsr.adaptation import Adaptation, adapt, presets, targets
from adadsr.adaptation.fidelity import CUT_OFF, MAPS, ONE_DEPTH, Figures, Point, measure
from adadsr.adaptation.photos import find_photos
from adadsr.adaptation.presets import choose_precision
from adadsr.adaptation.targets import held_pairs, learned_pairs, upscaled
from adadsr.backends import prepare
from adadsr.errors import AdaDSRError, DatasetError, InputError, TrainingError
from adadsr.networks import Model, Network, NetworkConfig, layouts
from adadsr.training.log import Entry, Progress
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
    assert {"own output of the photos", "closing convs", "fidelity"} <= set(told)


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

    def interrupt(entry: Entry) -> None:
        if isinstance(entry, Progress) and entry.step == TINY.every:
            raise KeyboardInterrupt

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


def test_another_preset_does_not_resume(options: Adaptation) -> None:
    adapt(options, quiet)
    with pytest.raises(InputError, match=r"a recipe that differs in steps of stage 1.*; choose another --out"):
        adapt(replace(options, steps=9), quiet)


def test_a_preset_that_holds_out_more_photos_does_not_resume(
    options: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, images=(write_photos(tmp_path / "many", 12),))
    adapt(options, quiet)
    monkeypatch.setattr("adadsr.adaptation.adapting.PRESETS", {"quick": replace(TINY, held=1)})
    with pytest.raises(InputError, match="out: this run began with other photos or another --preset; repeat the"):
        adapt(options, quiet)


def test_a_folder_belongs_to_one_adaptation_at_a_time(options: Adaptation) -> None:
    """From the photos to the report."""
    told: list[str] = []

    def start_second(what: str, share: float) -> None:
        with pytest.raises(TrainingError, match="out: another run is writing here"):
            adapt(options, quiet)
        told.append(what)

    adapt(options, start_second)
    assert {"own output of the photos", "fidelity"} <= set(told)


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
    with pytest.raises(InputError, match="out: this run began with other photos or another --preset"):
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


def test_figures_lie_between_points() -> None:
    figures = Figures({MAPS: (Point(0.0, 20.0), Point(0.5, 30.0), Point(1.0, 50.0))}, (), 1, 2)
    assert figures.at(MAPS, 0.75) == pytest.approx(40.0)


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
    (options.images[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (options.images[0] / "text.jpg").write_text("text")
    with pytest.raises(DatasetError, match=r"(?s)2 of the inputs cannot be used.*broken\.png.*text\.jpg"):
        adapt(options, quiet)


def test_too_few_photos(options: Adaptation, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "few", 3)
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    Image.new("RGB", (15, 40)).save(photos / "small.png")
    with pytest.raises(DatasetError, match="3 different photos of at least 16x16 pixels; pass 4 or more"):
        adapt(replace(options, images=(photos,)), quiet)


def test_small_photos_are_left_out_and_named(options: Adaptation) -> None:
    Image.new("RGB", (15, 40)).save(options.images[0] / "small.png")
    told: list[str] = []
    adapt(replace(options, steps=1), lambda what, share: told.append(what))
    assert told[0] == f"left out {options.images[0] / 'small.png'}: smaller than 16x16"


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
