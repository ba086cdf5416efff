"""`adadsr adapt`: what it prints, and how it ends bad input."""

import importlib.util
import json
from pathlib import Path

import pytest

from adadsr import checkpoints
from adadsr.cli.adapt import LOG_SECONDS, AdaptDisplay
from adadsr.networks import NetworkConfig
from adadsr.training.log import Progress
from adaptation_samples import tiny, write_network, write_photos
from cli_samples import call, check_interruption

__all__ = ["tiny"]  # a fixture


@pytest.fixture
def given(here: Path, tiny: object) -> list[str]:
    """Arguments of an adaptation that takes a second."""
    write_network(here / "dense.safetensors")
    write_photos(here / "photos")
    return ["adapt", "dense.safetensors", "--images", "photos", "--preset", "quick", "--device", "cpu", "--cache", "c"]


def test_it_adapts_and_prints_what_it_wrote(given: list[str], here: Path) -> None:
    result = call(*given, "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == ["out/model.safetensors", "out/report/report.md"]
    assert "stage 2 of 2, step 3: PSNR-Y full equal, 75% " in result.stderr
    upscaled = call("upscale", "photos/0.png", "-o", "large.png", "--model", "out/model.safetensors", "--budget", "0.7")
    assert upscaled.exit_code == 0, upscaled.output


def test_bad_input_ends_in_one_line(given: list[str], here: Path) -> None:
    write_network(here / "dense.safetensors", NetworkConfig("compact", 2, 8, 2))
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("adadsr: dense.safetensors (compact x2 ")
    assert not (here / "out").exists()


def test_refused_photos_leave_no_folder(given: list[str], here: Path) -> None:
    (here / "photos" / "bad.png").write_bytes(b"nothing")
    result = call(*given, "--out", "out")
    assert (result.exit_code, "bad.png" in result.stderr) == (1, True)
    assert not (here / "out").exists()


@pytest.mark.parametrize("source", ["a" * 300, "missing"])
def test_the_source_that_cannot_be_read_is_named(source: str, given: list[str], here: Path) -> None:
    """Not the output folder."""
    (here / "out").mkdir()
    result = call(*given, "--images", source, "--out", "out")
    assert (result.exit_code, result.stderr.count(f"\n  {source}: ")) == (1, 1)


def test_a_published_file_is_to_be_converted_first(given: list[str], here: Path) -> None:
    (here / "dense.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert "adadsr convert" in result.stderr


@pytest.mark.parametrize("more", [["--preset", "slow"], ["--steps", "0"], ["--precision", "int8"], []])
def test_wrong_usage(more: list[str], given: list[str]) -> None:
    assert call(*given, *more, *(["--out", "out"] if more else [])).exit_code == 2


def test_a_missing_library_names_the_extra(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert result.stderr == "adadsr: training needs torch; run pip install 'adadsr[train]'\n"


def test_the_adapted_network_is_described(given: list[str], here: Path) -> None:
    call(*given, "--out", "out", "--steps", "1")
    metadata = checkpoints.read_header(here / "out" / "model.safetensors").metadata
    assert metadata["validation"] == "PSNR to its own full output before"


def test_a_pattern_that_the_shell_expands(given: list[str], here: Path) -> None:
    """The values after the first one of --images are photos, too."""
    photos = sorted(str(path.relative_to(here)) for path in (here / "photos").iterdir())
    rest = given[given.index("--preset") :]
    result = call(*given[:2], "--images", *photos, *rest, "--steps", "1", "--out", "out")
    assert result.exit_code == 0, result.output
    report = json.loads((here / "out" / "report" / "report.json").read_text())
    assert report["pictures"] == 1
    result = call("adapt", "--images", *photos, "dense.safetensors", *rest, "--out", "other")
    assert result.exit_code == 2
    assert "photos/1.png is an image; name the network first" in " ".join(result.stderr.replace("│", "").split())


def test_an_interruption_says_how_to_resume(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_interruption(monkeypatch, "adadsr.adaptation.adapt", lambda: call(*given, "--out", "out"))


def test_long_work_shows_its_progress_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    display, now = AdaptDisplay([2], "adapt"), iter((0.0, 1.0, LOG_SECONDS + 2, LOG_SECONDS + 3, LOG_SECONDS + 4))
    monkeypatch.setattr("adadsr.cli.adapt.time.monotonic", lambda: next(now))
    for share in (0.0, 0.1, 0.5, 0.6, 1.0):
        display.tell("computing targets", share)
    assert capsys.readouterr().err.splitlines() == [
        "computing targets",
        "computing targets: 50%",
        "computing targets: 100%",
    ]


def test_the_bar_follows_the_work_before_training() -> None:
    display = AdaptDisplay([2, 2], "adapt")
    display.tell("computing targets", 0.5)
    assert display.bar.tasks[0].percentage == 50
    display(Progress(0, 1, 1.0, 1e-4, 0.1, 1.0, 0.1, 3.0))
    assert display.bar.tasks[0].percentage == 25
