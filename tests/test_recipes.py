"""The commands next to the recipes: the ablation compares variants and resumes; bundling fills the header."""

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adadsr import Upscaler, checkpoints, datasets
from adadsr.checkpoints import sources
from adadsr.datasets import load_pairs
from adadsr.training import validate, validation
from training_samples import RECIPE, build, write_photos

ABLATE = Path(__file__).parents[1] / "recipes" / "ablate.py"
VARIANTS = """
base: {network: adatiny, scale: 2, depth_tile: 4, warmup: 1, stages: [
  {steps: 2, batch: 2, patch: 8, learning_rate: 1.0e-3, adaptive: true}]}
variants: {base: , hard: {full_share: 0.5, seed: 2}}
"""


def ablate(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> None:
    given = [str(ABLATE), str(folder / "v.yaml"), "--train", str(folder), "--valid", str(folder)]
    monkeypatch.setattr("sys.argv", [*given, "--out", str(folder / "out"), *more])
    runpy.run_path(str(ABLATE), run_name="__main__")


def test_variants_are_compared_and_not_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "v.yaml").write_text(VARIANTS)
    ablate(monkeypatch, tmp_path, "--only", "base")
    trained = (tmp_path / "out" / "base" / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    ablate(monkeypatch, tmp_path)
    *_, first, second, last = capsys.readouterr().out.splitlines()
    results = json.loads(last)
    assert list(results) == ["base", "hard"]
    assert list(results["base"]) == ["full", "75%", "50%", "25%"]
    assert first == "| base | " + " | ".join(f"{value:.3f}" for value in results["base"].values()) + " |"
    assert second.startswith("| hard |")
    assert (tmp_path / "out" / "base" / "model.safetensors").stat().st_mtime_ns == trained


def test_photos_are_decoded_once_and_only_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "v.yaml").write_text(VARIANTS)
    decoded = []
    monkeypatch.setattr(validation, "load_pairs", lambda *given: decoded.append("valid") or load_pairs(*given))
    monkeypatch.setattr(datasets, "load_pairs", lambda *given: decoded.append("train") or load_pairs(*given))
    for _ in range(2):
        ablate(monkeypatch, tmp_path)
        assert sorted(decoded) == ["train", "valid"]


def test_variants_have_photos_of_their_own_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "v.yaml").write_text(
        VARIANTS.replace("{full_share: 0.5, seed: 2}", "{scale: 3, valid_reductions: [1, 2]}")
    )
    ablate(monkeypatch, tmp_path)
    *_, first, second, last = capsys.readouterr().out.splitlines()
    results = json.loads(last)
    assert list(results["hard"]) == [*results["base"], *(f"1/2: {share}" for share in results["base"])]
    assert first.endswith("|  |  |  |  |")
    assert second.count(".") == 8


def test_only_dense_edsr_is_balanced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["balance.py", "adaedsr-baseline-x2", str(tmp_path / "out.safetensors")])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ABLATE.parent / "balance.py"), run_name="__main__")
    assert capsys.readouterr().err == "adadsr: adaedsr is not a dense EDSR; pass one\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("hard: {speed: 9}", "variant 'hard': unknown key speed; docs/training.md lists the keys"),
        ("hard: {seed: 3}", "result.json: belongs to another recipe; choose another --out"),
        ("soft: ", "unknown variant hard; available: base, soft"),
    ],
)
def test_variants_that_do_not_fit_are_refused(
    change: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "v.yaml").write_text(VARIANTS.replace("hard: {full_share: 0.5, seed: 2}", change))
    (tmp_path / "out" / "hard").mkdir(parents=True)
    (tmp_path / "out" / "hard" / "result.json").write_text(json.dumps({"recipe": repr(RECIPE), "psnr_y": {}}))
    with pytest.raises(SystemExit):
        ablate(monkeypatch, tmp_path, "--only", "hard")
    assert message in capsys.readouterr().err


def test_the_shipped_ablations_can_be_read() -> None:
    read_variants = runpy.run_path(str(ABLATE))["read_variants"]
    for path in (ABLATE.parent / "ablations").glob("*.yaml"):
        assert len(read_variants(path, None)) > 1


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Bundles a network into a folder of the test, with these options."""
    folder = write_photos(tmp_path / "photos")
    checkpoints.save(
        build("adatiny", 2, 4).model(), tmp_path / "model.safetensors", metadata={"hours of training": "1"}
    )
    (tmp_path / "r.yaml").write_text(
        "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 1, batch: 1, patch: 8, learning_rate: 1}]}"
    )
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(tmp_path / "cache"))
    given = ["bundle.py", tmp_path / "r.yaml", tmp_path / "model.safetensors", "--valid", folder]
    given += ["--trained-on", "two photos of ours"]

    def run(*options: str) -> None:
        monkeypatch.setattr("sys.argv", [*map(str, given), *options])
        runpy.run_path(str(ABLATE.parent / "bundle.py"), run_name="__main__")

    return run


def test_bundling_writes_what_the_command_shows(bundle: Callable[..., None], tmp_path: Path) -> None:
    notices = ["LIIF: BSD-3-Clause, Copyright (c) 2020 Yinbo Chen", "another"]
    bundle("--summary", "x2, cost adjustable", *[word for notice in notices for word in ("--notice", notice)])
    (bundled,) = [model for model in checkpoints.bundled_models() if model.name == "adatiny-x2"]
    about = bundled.metadata
    assert about["summary"] == "x2, cost adjustable"
    assert about["trained on"] == "two photos of ours"
    assert about["notices"] == "\n".join(notices)
    assert about["hours of training"] == "1"
    assert "start" not in about
    quality = json.loads(about["quality"])
    expected = validate(checkpoints.load(bundled.path), load_pairs(tmp_path / "photos", 2))
    assert quality == {f"{100 * share:.0f}": round(value, 2) for share, value in expected.items()}
    assert list(quality) == ["100", "75", "50", "25"]


def test_a_header_says_the_start_in_words(bundle: Callable[..., None]) -> None:
    bundle("--summary", "x2", "--start", "a network of before")
    about = checkpoints.bundled_models()[0].metadata
    assert about["start"] == json.loads(about["recipe"])["start_from"] == "a network of before"


def test_bundled_headers_name_no_path_of_a_machine() -> None:
    for model in checkpoints.bundled_models():
        assert not Path(json.loads(model.metadata["recipe"])["start_from"]).is_absolute()


def test_a_summary_that_does_not_fit_is_refused(
    bundle: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bundle("--summary", "x" * 35)
    assert "has 35 characters; use 1 to 34" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [2, 4])
def test_a_balanced_network_is_the_same_function(scale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("edsr-baseline", scale).model()
    small = {name: value / 50 if name.startswith("head.") else value for name, value in model.tensors.items()}
    checkpoints.save(replace(model, tensors=small), tmp_path / "in.safetensors")
    monkeypatch.setattr("sys.argv", ["balance.py", *(str(tmp_path / f"{name}.safetensors") for name in ("in", "out"))])
    runpy.run_path(str(ABLATE.parent / "balance.py"), run_name="__main__")
    images = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    before, after = (
        Upscaler.from_pretrained(str(tmp_path / f"{name}.safetensors"))(images[0]).image.astype(int)
        for name in ("in", "out")
    )
    assert np.abs(before - after).max() <= 1
    balanced = checkpoints.load_model(str(tmp_path / "out.safetensors"))
    assert np.abs(balanced.tensors["head.conv.weight"]).mean() == pytest.approx(0.08)


def test_bundling_ends_bad_input_in_a_line(
    bundle: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").unlink()
    with pytest.raises(SystemExit):
        bundle("--summary", "none")
    assert "adadsr: " in (error := capsys.readouterr().err)
    assert "r.yaml: cannot read" in error
