"""A whole evaluation on small images with small networks: figures, rows, what is written, and going on."""

import json

import numpy as np
import pytest
import torch

from adadsr import atomic, checkpoints, metrics
from adadsr.errors import CheckpointError, DatasetError, InputError
from adadsr.evaluation import BASELINES, EvaluationOptions, evaluate
from adadsr.evaluation.baselines import Enlarged
from adadsr.evaluation.benchmark import load_pair, open_benchmark
from adadsr.evaluation.ensemble import run_ensemble
from adadsr.evaluation.runners import RunnerOptions, open_runners, weights_digest
from adadsr.evaluation.tables import asked, label
from adadsr.images import read_image
from adadsr.models import Network
from adadsr.upscaler import Upscaler
from adadsr.upscaler.report import Target
from evaluation_samples import ADAPTIVE, PLAIN, make_dataset, pixels, save_network, write

BUDGETS = (1.0, 0.8)


@pytest.fixture
def data(tmp_path):
    make_dataset(tmp_path / "data" / "One", with_lr=True)
    make_dataset(tmp_path / "data" / "Two", sizes=((36, 50),))
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path):
    return str(save_network(tmp_path / "tiny.safetensors"))


def options(data, *models, **others):
    defaults = {"datasets": ("One",), "scale": 2, "out": data.parent / "out", "data_root": data}
    return EvaluationOptions(models=models, **{**defaults, **others})


def test_rows_and_results_json(data, model):
    done = evaluate(options(data, "bicubic", model, datasets=("One", "Two"), budgets=BUDGETS, depths=(1,)))
    results = json.loads((data.parent / "out" / "results.json").read_text())
    asked = [(row["model"], row["dataset"], row["budget"], row["depth"]) for row in results["rows"]]
    assert asked == [
        (name, dataset, budget, depth)
        for dataset in ("One", "Two")
        for name, budget, depth in (("bicubic", None, None), ("tiny", None, 1), ("tiny", 1, None), ("tiny", 0.8, None))
    ]
    expected = "model dataset scale budget achieved_budget mean_depth psnr_y ssim_y psnr_rgb gmacs dense_gmacs"
    assert {*expected.split(), "seconds", "images", "paper_gflops"} <= results["rows"][0].keys()
    baseline, _, full, cheap = results["rows"][:4]
    assert baseline["gmacs"] is baseline["achieved_budget"] is baseline["mean_depth"] is None
    assert full["achieved_budget"] == 1
    assert full["mean_depth"] == full["paper_depth"] == ADAPTIVE.n_resblocks
    assert cheap["achieved_budget"] == pytest.approx(0.8, abs=0.01)
    assert cheap["achieved_budget"] == cheap["gmacs"] / cheap["dense_gmacs"]
    assert cheap["images"] == 2
    assert results["environment"]["threads"] == torch.get_num_threads()
    assert {"device", "commit", "date", "packages"} <= results["environment"].keys()
    assert done.measured == 4 * 3


def test_row_holds_the_documented_means_and_sums(data, model):
    (row,) = evaluate(options(data, model, budgets=(0.8,))).rows
    upscaler = Upscaler(checkpoints.load(model))
    pairs = [load_pair(sample, 2) for sample in open_benchmark(data / "One", 2).samples]
    runs = [upscaler(pair.lr, budget=0.8) for pair in pairs]
    figures = [(run.image, pair.hr, 2) for run, pair in zip(runs, pairs, strict=True)]
    assert row.psnr_y == pytest.approx(np.mean([metrics.psnr_y(*each) for each in figures]))
    assert row.ssim_y == pytest.approx(np.mean([metrics.ssim_y(*each) for each in figures]))
    assert row.psnr_rgb == pytest.approx(np.mean([metrics.psnr_rgb(*each) for each in figures]))
    assert row.gmacs == pytest.approx(sum(run.report.executed_gmacs for run in runs))
    assert row.dense_gmacs == pytest.approx(sum(run.report.dense_gmacs for run in runs))
    assert row.mean_depth == pytest.approx(np.mean([run.report.mean_depth for run in runs]))


def test_files_that_are_written(data, model):
    done = evaluate(options(data, "bicubic", model, budgets=BUDGETS, save_images=True))
    names = ["results.json", "results.md", "psnr-gmacs.png", "psnr-ms.png", "budget.png", "crops-One-tiny.png"]
    assert [path.name for path in done.files] == names
    for path in done.files[2:]:
        assert read_image(path).width > 500
    out = data.parent / "out"
    saved = sorted(str(path.relative_to(out / "images")) for path in out.rglob("images/*/*/*.png"))
    assert saved == [f"One/{run}/{name}.png" for run in ("bicubic", "tiny-100", "tiny-80") for name in "ab"]
    expected = Upscaler(checkpoints.load(model))(read_image(data / "One" / "LR_bicubic" / "X2" / "ax2.png").pixels)
    np.testing.assert_array_equal(read_image(out / "images" / saved[2]).pixels, expected.image)
    table = (out / "results.md").read_text()
    assert "## One, x2, 2 images" in table
    assert "| tiny | 80% |" in table


def test_what_was_asked_for_in_words():
    assert [asked(Target()), asked(Target(depth=8)), asked(Target(budget=0.5))] == ["", "depth 8", "50%"]
    assert [label("m", Target()), label("m", Target(budget=0.125))] == ["m", "m 12.5%"]


def test_baselines_alone(data):
    done = evaluate(options(data, "bicubic", "bicubic-rgb", "lanczos"))
    assert [path.name for path in done.files] == ["results.json", "results.md", "psnr-ms.png"]
    assert [row.psnr_rgb is None for row in done.rows] == [False, False, False]
    assert done.rows[0].psnr_rgb == done.rows[1].psnr_rgb
    assert done.rows[0].psnr_y != done.rows[1].psnr_y


def test_network_without_adapter_has_one_row(data, model, tmp_path):
    plain = str(save_network(tmp_path / "plain.safetensors", PLAIN))
    rows = evaluate(options(data, plain, model, budgets=BUDGETS)).rows
    assert [(row.model, row.budget) for row in rows] == [("plain", None), ("tiny", 1.0), ("tiny", 0.8)]
    assert rows[0].achieved_budget == 1


def test_interrupted_run_goes_on(data, model):
    def stop(stage, what, share):
        if stage == "measuring" and share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(options(data, "bicubic", model, budgets=BUDGETS), stop)
    log = data.parent / "out" / "images.jsonl"
    finished = len(log.read_text().splitlines())
    assert 0 < finished < 6
    with log.open("a") as file:
        file.write('{"key": "cut o')  # what a power cut leaves
    done = evaluate(options(data, "bicubic", model, budgets=BUDGETS))
    assert done.measured == 6 - finished
    again = evaluate(options(data, "bicubic", model, budgets=BUDGETS))
    assert again.measured == 0
    assert again.rows == done.rows
    assert evaluate(options(data, "bicubic", model, budgets=BUDGETS, fresh=True)).measured == 6


def test_only_what_is_unchanged_is_taken_over(data, model):
    evaluate(options(data, "bicubic-rgb", model))
    assert evaluate(options(data, "bicubic-rgb", model, tile=8)).measured == 2
    assert evaluate(options(data, "bicubic-rgb", model, budgets=(1.0,))).measured == 2
    write(data / "One" / "HR" / "a.png", pixels(40, 48, 9))
    assert evaluate(options(data, "bicubic-rgb", model)).measured == 2
    save_network(data.parent / "tiny.safetensors", seed=1)
    assert evaluate(options(data, "bicubic-rgb", model)).measured == 2
    assert evaluate(options(data, "bicubic-rgb", model, save_images=True)).measured == 4
    assert evaluate(options(data, "bicubic-rgb", model, save_images=True)).measured == 0


def test_digest_of_weights_does_not_depend_on_where_they_came_from():
    torch.manual_seed(0)
    network = Network(ADAPTIVE)
    first = weights_digest(network)
    assert weights_digest(network.to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        network.tail.conv.bias[0] += 1
    assert weights_digest(network) != first


def test_log_of_another_kind_is_refused(data):
    (data.parent / "out").mkdir()
    (data.parent / "out" / "images.jsonl").write_text('{"something": "else"}\n')
    with pytest.raises(InputError, match=r"images\.jsonl, line 1: is not a record of this version"):
        evaluate(options(data, "bicubic"))
    assert evaluate(options(data, "bicubic", fresh=True)).measured == 2


def test_self_ensemble_averages_eight_orientations_in_floating_point(data, model):
    upscaler = Upscaler(checkpoints.load(model))
    lr = pixels(12, 17)
    total = np.zeros((24, 34, 3))
    for turns in range(4):
        for mirror in (False, True):
            turned = np.rot90(lr[:, ::-1] if mirror else lr, turns)
            planes = torch.from_numpy(turned.copy()).permute(2, 0, 1).float()
            sr = np.rot90(upscaler(planes).image.permute(1, 2, 0).numpy(), -turns)
            total += sr[:, ::-1] if mirror else sr
    run = run_ensemble(upscaler, lr, None, None)
    assert np.abs(run.sr - (total / 8).clip(0, 255)).max() <= 0.5 + 1e-4
    assert len(run.reports) == 8
    single, ensemble = (
        evaluate(options(data, model, budgets=(0.8,), self_ensemble=flag)).rows[0] for flag in (False, True)
    )
    assert ensemble.dense_gmacs == pytest.approx(8 * single.dense_gmacs)
    assert ensemble.achieved_budget == pytest.approx(0.8, abs=0.01)


def test_ensemble_turns_depth_maps_back(model):
    upscaler = Upscaler(checkpoints.load(model))
    run = run_ensemble(upscaler, pixels(16, 24), None, 0.8)
    assert {depth_map.shape for depth_map in run.depth_maps} == {(1, 16, 24)}
    np.testing.assert_array_equal(run.depth_maps[0], upscaler(pixels(16, 24), budget=0.8).depth_map)


def test_same_image_has_infinite_psnr_which_json_holds_as_null(data, monkeypatch):
    monkeypatch.setitem(BASELINES, "bicubic", lambda pair: Enlarged(pair.hr))
    (row,) = evaluate(options(data, "bicubic")).rows
    assert (row.psnr_y, row.psnr_rgb, row.ssim_y) == (None, None, 1.0)


def refused(given, error, text):
    """Refused with this message, before anything was measured."""
    with pytest.raises(error, match=text):
        evaluate(given)
    assert not (given.out / "images.jsonl").exists()


def test_bad_models_and_targets(data, model, tmp_path):
    refused(options(data, "bicubi"), CheckpointError, "bicubi: no bundled model of that name")
    refused(options(data, model, scale=3), InputError, r"tiny\.safetensors: is a model for x2; pass --scale 2")
    refused(options(data, "bicubic", model, budgets=(0.01,)), InputError, r"tiny: budget=0\.01: .* ask for at least")
    refused(options(data, model, depths=(9,)), InputError, r"tiny: depth=9 is outside 0\.\.4")


def test_the_bicubic_of_the_literature_needs_a_bicubic_lr(data):
    lr = data / "One" / "LR_bicubic" / "X2" / "bx2.png"
    noisy = read_image(lr).pixels.copy()
    noisy[3, 4, 0] ^= 1
    write(lr, noisy)
    refused(options(data, "bicubic"), DatasetError, r"bx2\.png: is not the bicubic of .*b\.png.*ask for bicubic-rgb")
    assert evaluate(options(data, "bicubic-rgb")).measured == 2


def test_bad_data_sets(data):
    refused(options(data, "bicubic", datasets=("Three",)), DatasetError, "Three: no such data set")
    same = ("One", str(data / "One"))
    refused(options(data, "bicubic", datasets=same), DatasetError, "a data set of the name One is given twice")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"scale": 5}, "scale=5 is not one of 2, 3, 4"),
        ({"budgets": (1.5,)}, r"budget=1\.5 is outside"),
        ({"depths": (-1,)}, "depth=-1 is below 0"),
        ({"budgets": (0.5, 0.5)}, r"0\.5 is given twice in budgets"),
        ({"datasets": ("One", "One")}, "One is given twice in datasets"),
        ({"datasets": ()}, "no datasets are given"),
    ],
    ids=str,
)
def test_bad_options(tmp_path, given, text):
    with pytest.raises(InputError, match=text):
        options(tmp_path, "bicubic", **given)


def test_out_that_cannot_be_written(data):
    out = data.parent / "out"
    out.write_text("")
    with pytest.raises(InputError, match="out: no files can be written there"):
        evaluate(options(data, "bicubic"))
    out.unlink()
    (out / "results.json").mkdir(parents=True)
    with pytest.raises(InputError, match=r"out/results\.json: cannot be written .*choose another --out"):
        evaluate(options(data, "bicubic"))
    (out / "images.jsonl").unlink()
    (out / "images.jsonl").mkdir()
    with pytest.raises(InputError, match=r"out/images\.jsonl: cannot be written"):
        evaluate(options(data, "bicubic"))


def test_out_that_takes_no_files_is_refused_before_anything_runs(data, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic, "check_folder", fail)
    refused(options(data, "bicubic"), InputError, r"out: no files can be written there \(Permission denied\)")


def test_a_budget_that_one_image_cannot_meet_is_refused_before_any_is_measured(data, model):
    """An odd size costs more, since tiles of the depth map hang over its border."""
    network = checkpoints.load(model)
    (runner,) = open_runners((model,), RunnerOptions(2, (Target(budget=0.9),), "torch", "cpu", None, 1 << 30, False))
    sizes = {sample.name: (sample.height, sample.width) for sample in open_benchmark(data / "One", 2).samples}
    least = {name: runner.least_budget(*size) for name, size in sizes.items()}
    assert least["a"] < least["b"]
    upscaler = Upscaler(network, backend="torch")
    for name, size in sizes.items():
        assert upscaler(pixels(*size), budget=least[name] + 1e-4).report.mean_depth < 0.1
        with pytest.raises(InputError, match="ask for at least"):
            upscaler(pixels(*size), budget=least[name] - 1e-4)
    between = (least["a"] + least["b"]) / 2
    refused(options(data, model, budgets=(between,)), InputError, r"tiny: budget=.* on .*b\.png; ask for at least")
    assert evaluate(options(data, model, budgets=(round(least["b"] + 1e-3, 3),))).measured == 2
