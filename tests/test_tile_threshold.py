"""From how many active pixels on a tile runs whole: constants, and what was measured on this machine instead."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adadsr.backends import native

if native.missing() is not None:
    pytest.skip("the native engine was not built", allow_module_level=True)

from adadsr.backends.native import _native, tile_threshold
from adadsr.backends.native.tile_threshold import BREAK_EVEN, TileThreshold
from adadsr.backends.native.workspaces import isas_by_precision
from adadsr.checkpoints import bundled_models
from adadsr.cli.app import app
from adadsr.machine import CACHE_VARIABLE
from adadsr.upscaler import measuring


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the file, which does not exist yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(tile_threshold, "_measured", lambda *arguments: 4.5)
    return tmp_path / "cache"


def chosen(channels: int = 8, threads: int = 1) -> TileThreshold:
    return tile_threshold.tile_threshold(channels, "plain", threads)


def test_nothing_is_measured_unasked(folder: Path) -> None:
    assert chosen() == TileThreshold(BREAK_EVEN["plain"][64], False)
    assert not folder.exists()


def test_every_instruction_set_has_constants() -> None:
    assert set(_native.isas()) <= set(BREAK_EVEN)
    assert all(0 < pixels < 16 for sizes in BREAK_EVEN.values() for pixels in sizes.values())


@pytest.mark.parametrize(("channels", "nearest"), [(1, 64), (100, 64), (200, 256), (1000, 256)])
def test_other_channels_take_the_nearest(channels: int, nearest: int) -> None:
    assert chosen(channels).pixels == BREAK_EVEN["plain"][nearest]


def test_what_was_measured_replaces_the_constant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tile_threshold.measure(8, "plain", 1) == 4.5
    (kept,) = json.loads((folder / "native.json").read_text()).items()
    assert kept[1] == 4.5
    assert "plain | 1 threads | 8 channels" in kept[0]
    assert chosen() == TileThreshold(4.5, True)
    assert "4.5 pixels (measured)" in str(chosen())
    assert not chosen(threads=2).measured
    monkeypatch.setattr(tile_threshold, "_measured", lambda *arguments: 7.0)
    tile_threshold.measure(8, "plain", 1)
    assert chosen().pixels == 7.0


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "null", '{"KEY": "x"}', '{"KEY": -1}', '{"KEY": NaN}', '{"KEY": true}']
)
def test_a_broken_file_counts_for_nothing(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "native.json").write_text(content.replace("KEY", tile_threshold._key(8, "plain", 1)))
    assert not chosen().measured


def test_what_is_measured_is_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert tile_threshold._measured(4, "plain", 1) > 0


def test_the_command_measures_each_precision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precisions = isas_by_precision()
    assert set(precisions) == {"float32", *(["bfloat16"] if precisions["float32"] == "amx" else [])}
    monkeypatch.setattr(measuring, "SIDES", (8, 12))
    monkeypatch.setattr(measuring, "RUNS", 1)
    result = CliRunner().invoke(app, ["backends", "--measure"])
    assert result.exit_code == 0, result.output
    assert "64 channels" in result.output
    assert len(json.loads((folder / "native.json").read_text())) == 2 * len(precisions)
    networks = {model.config for model in bundled_models()}  # those of one form take one time
    assert len(json.loads((folder / "seconds.json").read_text())) == len(networks) * len(precisions)


def test_the_command_says_what_cannot_be_stored(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    result = CliRunner().invoke(app, ["backends", "--measure"])
    assert result.exit_code == 1
    assert "cannot store the result (" in result.output
    assert f"set {CACHE_VARIABLE} to a writable folder" in result.output
