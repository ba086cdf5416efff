"""A whole evaluation on small images with small networks: figures, rows, what is written, and going on."""

import json
import subprocess
import sys

import numpy as np
import pytest

from adadsr import atomic, checkpoints, metrics
from adadsr.errors import CheckpointError, DatasetError, InputError
from adadsr.evaluation import BASELINES, EvaluationOptions, evaluate
from adadsr.evaluation.baselines import Enlarged
from adadsr.evaluation.benchmark import load_pair, open_benchmark
from adadsr.evaluation.records import Case, target_label
from adadsr.images import read_image
from adadsr.machine import default_threads
from adadsr.networks import Model
from adadsr.upscaler import Execution, Target, Upscaler
from adadsr.upscaler.frame import Frame
from adadsr.upscaler.plan import least_budget
from evaluation_samples import ADAPTIVE, PLAIN, make_dataset, pixels, random_model, save_network, write

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
    environment = results["environment"]
    assert environment["threads"] == default_threads()
    assert environment["backend"].keys() == {"tiny"}
    assert {"device", "device_name", "precision", "commit", "date", "packages"} <= environment.keys()
    assert done.measured == 4 * 3


def test_row_holds_the_documented_means_and_sums(data, model):
    (row,) = evaluate(options(data, model, budgets=(0.8,))).rows
    upscaler = Upscaler(checkpoints.load(model), Execution(border="zero"))
    pairs = [load_pair(sample, 2) for sample in open_benchmark(data / "One", 2).samples]
    runs = [upscaler(pair.lr, budget=0.8) for pair in pairs]
    figures = [(run.image, pair.hr, 2) for run, pair in zip(runs, pairs, strict=True)]
    assert row.quality.psnr_y == pytest.approx(np.mean([metrics.psnr_y(*each) for each in figures]))
    assert row.quality.ssim_y == pytest.approx(np.mean([metrics.ssim_y(*each) for each in figures]))
    assert row.quality.psnr_rgb == pytest.approx(np.mean([metrics.psnr_rgb(*each) for each in figures]))
    assert row.effort.gmacs == pytest.approx(sum(run.report.executed_gmacs for run in runs))
    assert row.effort.dense_gmacs == pytest.approx(sum(run.report.dense_gmacs for run in runs))
    assert row.effort.mean_depth == pytest.approx(np.mean([run.report.mean_depth for run in runs]))


def test_files_that_are_written(data, model):
    done = evaluate(options(data, "bicubic", model, budgets=BUDGETS, save_images=True))
    names = ["results.json", "results.md", "psnr-gmacs.png", "psnr-ms.png", "budget.png", "loss.png"]
    assert [path.name for path in done.files] == [*names, "crops-One-tiny.png"]
    for path in done.files[2:]:
        assert read_image(path).width > 500
    out = data.parent / "out"
    saved = sorted(str(path.relative_to(out / "images")) for path in out.rglob("images/*/*/*.png"))
    assert saved == [f"One/{run}/{name}.png" for run in ("bicubic", "tiny-100", "tiny-80") for name in "ab"]
    expected = Upscaler(checkpoints.load(model), Execution(border="zero"))(
        read_image(data / "One" / "LR_bicubic" / "X2" / "ax2.png").pixels
    )
    np.testing.assert_array_equal(read_image(out / "images" / saved[2]).pixels, expected.image)
    table = (out / "results.md").read_text()
    assert "## One, x2, 2 images" in table
    assert "| tiny | 80% |" in table


def test_what_was_asked_for_in_words():
    targets = Target(), Target(depth=8), Target(budget=0.125)
    assert [target_label(target) for target in targets] == ["", "depth 8", "12.5%"]
    assert [Case("m", "Set5", 2, target).label for target in targets] == ["m", "m depth 8", "m 12.5%"]


def test_baselines_alone(data):
    done = evaluate(options(data, "bicubic", "bicubic-rgb", "lanczos"))
    assert [path.name for path in done.files] == ["results.json", "results.md", "psnr-ms.png"]
    assert [row.quality.psnr_rgb is None for row in done.rows] == [False, False, False]
    assert done.rows[0].quality.psnr_rgb == done.rows[1].quality.psnr_rgb
    assert done.rows[0].quality.psnr_y != done.rows[1].quality.psnr_y


def test_network_without_adapter_has_one_row(data, model, tmp_path):
    plain = str(save_network(tmp_path / "plain.safetensors", PLAIN))
    rows = evaluate(options(data, plain, model, budgets=BUDGETS)).rows
    cases = [(row.case.model, row.case.target.budget) for row in rows]
    assert cases == [("plain", None), ("tiny", 1.0), ("tiny", 0.8)]
    assert rows[0].effort.budget == 1


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
    for execution in (Execution(tile=8), Execution(backend="dense"), Execution(threads=default_threads() + 1)):
        assert evaluate(options(data, "bicubic-rgb", model, execution=execution)).measured == 2
    named = Execution(backend="native", threads=default_threads(), border="zero")
    assert evaluate(options(data, "bicubic-rgb", model, execution=named)).measured == 0
    assert evaluate(options(data, "bicubic-rgb", model, budgets=(1.0,))).measured == 2
    assert evaluate(options(data, "bicubic-rgb", model, budgets=(0.9, 1.0, 0.8))).measured == 4
    write(data / "One" / "HR" / "a.png", pixels(40, 48, 9))
    assert evaluate(options(data, "bicubic-rgb", model)).measured == 2
    save_network(data.parent / "tiny.safetensors", seed=1)
    assert evaluate(options(data, "bicubic-rgb", model)).measured == 2
    assert evaluate(options(data, "bicubic-rgb", model, save_images=True)).measured == 4
    assert evaluate(options(data, "bicubic-rgb", model, save_images=True)).measured == 0


def test_digest_of_weights_does_not_depend_on_where_they_came_from():
    model = random_model()
    first = model.digest()
    turned = {name: np.asfortranarray(value) for name, value in reversed(model.tensors.items())}
    assert Model(model.config, turned).digest() == first
    model.tensors["tail.conv.bias"][0] += 1
    assert model.digest() != first


def test_log_of_another_kind_is_refused(data):
    (data.parent / "out").mkdir()
    (data.parent / "out" / "images.jsonl").write_text('{"something": "else"}\n')
    with pytest.raises(InputError, match=r"images\.jsonl, line 1: not a record of this version"):
        evaluate(options(data, "bicubic"))
    assert evaluate(options(data, "bicubic", fresh=True)).measured == 2


def test_same_image_has_infinite_psnr_which_json_holds_as_null(data, monkeypatch):
    monkeypatch.setitem(BASELINES, "bicubic", lambda pair: Enlarged(pair.hr))
    (row,) = evaluate(options(data, "bicubic")).rows
    assert (row.quality.psnr_y, row.quality.psnr_rgb, row.quality.ssim_y) == (None, None, 1.0)


def refused(given, error, text):
    """Refused with this message, before anything was measured."""
    with pytest.raises(error, match=text):
        evaluate(given)
    assert not (given.out / "images.jsonl").exists()


def test_bad_models_and_targets(data, model, tmp_path):
    refused(options(data, "bicubi"), CheckpointError, "bicubi: not a bundled model")
    refused(options(data, model, scale=3), InputError, r"tiny\.safetensors: is a model for x2; pass --scale 2")
    refused(options(data, "bicubic", model, budgets=(0.01,)), InputError, r"tiny: budget=0\.01 .* at least")
    refused(options(data, model, depths=(9,)), InputError, r"tiny: depth=9 is outside 0\.\.4")


def test_the_bicubic_of_the_literature_needs_a_bicubic_lr(data):
    lr = data / "One" / "LR_bicubic" / "X2" / "bx2.png"
    noisy = read_image(lr).pixels.copy()
    noisy[3, 4, 0] ^= 1
    write(lr, noisy)
    refused(
        options(data, "bicubic"), DatasetError, r"bx2\.png: is not a bicubic downscale of .*b\.png.*use bicubic-rgb"
    )
    assert evaluate(options(data, "bicubic-rgb")).measured == 2


def test_bad_data_sets(data):
    refused(options(data, "bicubic", datasets=("Three",)), DatasetError, "Three: unknown data set")
    same = ("One", str(data / "One"))
    refused(options(data, "bicubic", datasets=same), DatasetError, "duplicate data set One; pass it once")
    other = make_dataset(data / "more" / "One")
    refused(options(data, "bicubic", datasets=("One", str(other))), DatasetError, "has the same name as .*; rename one")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"scale": 5}, "scale=5 is not one of 2, 3, 4"),
        ({"budgets": (1.5,)}, r"budget=1\.5 is outside"),
        ({"depths": (-1,)}, "depth=-1 must be a finite number of residual blocks"),
        ({"depths": (float("nan"),)}, "depth=nan must be a finite number of residual blocks"),
        ({"budgets": (0.5, 0.5)}, r"duplicate in budgets: 0\.5"),
        ({"datasets": ("One", "One")}, "duplicate in datasets: One"),
        ({"datasets": ()}, "pass at least one of datasets"),
    ],
    ids=str,
)
def test_bad_options(tmp_path, given, text):
    with pytest.raises(InputError, match=text):
        options(tmp_path, "bicubic", **given)


def test_out_that_cannot_be_written(data):
    out = data.parent / "out"
    out.write_text("")
    with pytest.raises(InputError, match="out: folder is not writable"):
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
    refused(options(data, "bicubic"), InputError, r"out: folder is not writable \(Permission denied\)")


def test_a_budget_that_one_image_cannot_meet_is_refused_before_any_is_measured(data, model):
    """An odd size costs more, since tiles of the depth map hang over its border."""
    upscaler = Upscaler(checkpoints.load(model), Execution(border="zero"))
    sizes = {sample.name: (sample.height, sample.width) for sample in open_benchmark(data / "One", 2).samples}
    least = {name: least_budget(upscaler.engine.network, Frame(*size, 0)) for name, size in sizes.items()}
    assert least["a"] < least["b"]
    for name, size in sizes.items():
        assert upscaler(pixels(*size), budget=least[name] + 1e-4).report.mean_depth < 0.1
        with pytest.raises(InputError, match="at least"):
            upscaler(pixels(*size), budget=least[name] - 1e-4)
    between = (least["a"] + least["b"]) / 2
    refused(options(data, model, budgets=(between,)), InputError, r"tiny: budget=.* on .*b\.png; use at least")
    assert evaluate(options(data, model, budgets=(round(least["b"] + 1e-3, 3),))).measured == 2


def test_without_matplotlib_tables_are_written_and_a_note_says_what_draws_plots(data, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = evaluate(options(data, "bicubic", model))
    assert [path.name for path in done.files] == ["results.json", "results.md"]
    (note,) = done.notes
    assert "pip install 'adadsr[evaluate]'" in note


def test_evaluation_on_the_native_engine_imports_no_torch(data, model):
    code = f"""
import sys
from pathlib import Path
from adadsr.evaluation import EvaluationOptions, evaluate
out, data = Path({str(data.parent / "out")!r}), Path({str(data)!r})
evaluate(EvaluationOptions(("One",), ("lanczos", {model!r}), 2, out, data, self_ensemble=True))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
