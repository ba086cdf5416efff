"""`adadsr train`: forwards to the command line of training, and shows how the run goes."""

import importlib.util
import re
from pathlib import Path

import pytest

from adadsr import checkpoints
from adadsr.cli.train import Display, progress_line, rollback_line, validation_line
from adadsr.training import Pace
from adadsr.training.__main__ import parse
from adadsr.training.log import Progress, Rollback, Validation
from cli_samples import call, check_interruption
from training_samples import RECIPE, write_photos

assert RECIPE.network == "adatiny"
TEXT = "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 2, batch: 1, patch: 8, learning_rate: 1.0e-3}]}"


@pytest.fixture
def given(here: Path) -> list[str]:
    """Arguments of a run that takes a second."""
    write_photos(here / "photos")
    (here / "r.yaml").write_text(TEXT)
    return ["train", "r.yaml", "--train", "photos", "--valid", "photos", "--cache", "cache", "--device", "cpu"]


def test_it_trains_to_a_checkpoint_and_prints_its_path(given: list[str], here: Path) -> None:
    result = call(*given, "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/model.safetensors\n"
    assert "stage 1 of 1, step 2: PSNR-Y full " in result.stderr
    assert checkpoints.load(here / "out" / "model.safetensors").config.depth_tile == 4


def test_bad_input_ends_in_one_line(given: list[str], here: Path) -> None:
    (here / "r.yaml").write_text(TEXT.replace("scale: 2", "scale: 2, speed: 9"))
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert "r.yaml: " in result.stderr
    assert "'speed'" in result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--every", "0"], "argument --every: '0' is not a whole number of at least 1"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_wrong_usage_ends_as_in_the_other_commands(more: list[str], said: str, given: list[str]) -> None:
    result = call(*given, "--out", "out", *more)
    assert result.exit_code == 2
    assert f"adadsr train: error: {said}" in result.stderr


def test_help_is_that_of_the_one_parser(here: Path) -> None:
    result = call("train", "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("usage: adadsr train ")
    assert "steps between validations [default: 1000]" in result.stdout
    assert parse(["r", "--train", "t", "--valid", "v", "-o", "o"], "adadsr train").pace == Pace()


def test_the_commands_of_the_guide_parse() -> None:
    text = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:adadsr train|torchrun .*-m adadsr.training) (.*)$", text, re.MULTILINE)
    assert len(commands) > 1
    for arguments in commands:
        assert parse(arguments.split(), "adadsr train").out


@pytest.mark.parametrize("name", ["torch", "PIL", "yaml"])
def test_a_missing_library_names_the_extra(name: str, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda other: None if other == name else find(other))
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert result.stderr == f"adadsr: training needs {name}; run pip install 'adadsr[train]'\n"


def test_what_is_shown() -> None:
    assert progress_line(Progress(0, 40, 2.5, 1e-4, 0.25, 64.0, 0.012, 7260.0)) == (
        "2:01 left  loss 2.500  64 patches/s  250 ms/step (1.2% data)"
    )
    assert validation_line(Validation(1, 40, {"full": 31.456, "50%": 31.2}, 9.7), 2) == (
        "stage 2 of 2, step 40: PSNR-Y full 31.46, 50% 31.20 dB (10 s)"
    )
    assert "PSNR-Y full equal, 75% 31.20 dB" in validation_line(Validation(0, 1, {"full": 60.0, "75%": 31.2}, 1.0), 1)
    assert rollback_line(Rollback(0, 20, 33, None, 2.0, 1)) == (
        "stage 1, step 33: loss not finite; rolled back to step 20, learning rate x 0.5"
    )
    assert "loss spiked to 512; rolled back" in rollback_line(Rollback(0, 20, 33, 512.0, 2.0, 2))


def test_lines_are_whole_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    entry = Validation(0, 40, {f"1/{part}: full": 31.456 for part in range(2, 9)}, 9.7)
    Display([40])(entry)
    assert capsys.readouterr().err.splitlines() == [validation_line(entry, 1)]


def test_an_interruption_says_how_to_resume(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_interruption(monkeypatch, "adadsr.training.train", lambda: call(*given, "--out", "out"))
