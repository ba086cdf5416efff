"""`adadsr evaluate` as a user runs it."""

import json

import pytest
from typer.testing import CliRunner

from adadsr.cli.app import app
from cli_samples import check_interruption
from evaluation_samples import make_dataset, save_network


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_evaluate(tmp_path):
    make_dataset(tmp_path / "One")
    model = save_network(tmp_path / "tiny.safetensors")
    models = ("--model", "bicubic", "--model", model)
    asked = ("--budget", 1.0, "--budget", 0.8, "--depth", 2, "--scale", 2, "--device", "cpu")
    asked += ("--threads", 1, "--precision", "float32")
    done = run("One", "--data-root", tmp_path, *models, *asked, "--out", tmp_path / "out", "--save-images")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [(row["budget"], row["depth"]) for row in rows] == [(None, None), (None, 2.0), (1.0, None), (0.8, None)]
    assert "results.md" in done.stdout
    assert "tiny" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scale", 5), "scale=5 is not one of 2, 3, 4"),
        (("--budget", 1.5), "budget=1.5 is outside (0, 1]"),
        (("--tile", 0), "tile=0 must be at least 1 LR pixel"),
    ],
)
def test_wrong_values_are_wrong_usage(tmp_path, arguments, message):
    done = run("One", "--data-root", tmp_path, "--model", "bicubic", "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_error_is_one_line(tmp_path):
    done = run("Nowhere", "--data-root", tmp_path, "--model", "bicubic", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith("adadsr: Nowhere: unknown data set;")
    assert len(done.stderr.splitlines()) == 1


def test_an_interruption_says_how_to_resume(tmp_path, monkeypatch):
    arguments = "One", "--data-root", tmp_path, "--model", "bicubic", "--out", tmp_path / "out"
    check_interruption(monkeypatch, "adadsr.evaluation.evaluate", lambda: run(*arguments))
    advice = "repeat the command without --fresh to resume"
    check_interruption(monkeypatch, "adadsr.evaluation.evaluate", lambda: run(*arguments, "--fresh"), advice)
