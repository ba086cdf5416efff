"""The file that says which of the native engine's algorithms is cheaper on this machine."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from adadsr.sparse import extension

if extension.missing(torch.device("cpu")) is not None:
    pytest.skip("the native engine was not built", allow_module_level=True)

from adadsr.cli.app import app
from adadsr.sparse import cost_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder for the file."""
    monkeypatch.setenv(cost_model.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cost_model, "_measured", lambda *arguments: 4.5)
    cost_model.tile_worth.cache_clear()
    yield tmp_path / "cache"
    cost_model.tile_worth.cache_clear()


def test_it_is_measured_once_and_then_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cost_model.tile_worth(8, "plain", 1) == 4.5
    (kept,) = json.loads((folder / "native.json").read_text()).items()
    assert kept[1] == 4.5
    assert "plain | 1 threads | 8 channels" in kept[0]
    monkeypatch.setattr(cost_model, "_measured", lambda *arguments: 7.0)
    cost_model.tile_worth.cache_clear()
    assert cost_model.tile_worth(8, "plain", 1) == 4.5
    assert cost_model.tile_worth(8, "plain", 2) == 7.0
    assert cost_model.measure(8, "plain", 1) == 7.0
    cost_model.tile_worth.cache_clear()
    assert cost_model.tile_worth(8, "plain", 1) == 7.0


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "null", '{"KEY": "x"}', '{"KEY": -1}', '{"KEY": NaN}', '{"KEY": true}']
)
def test_a_broken_file_is_measured_again(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "native.json").write_text(content.replace("KEY", cost_model._key(8, "plain", 1)))
    assert cost_model.tile_worth(8, "plain", 1) == 4.5
    assert list(json.loads((folder / "native.json").read_text()).values()) == [4.5]


def test_a_folder_that_cannot_be_written_stops_nothing(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    assert cost_model.tile_worth(8, "plain", 1) == 4.5


def test_the_user_s_caches_are_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cost_model.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cost_model.cache_file() == tmp_path / "adadsr" / "native.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cost_model.cache_file() == tmp_path / ".cache" / "adadsr" / "native.json"


def test_what_is_measured_is_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert cost_model._measured(4, "plain", 1) > 0


def test_the_command_measures_again(folder: Path) -> None:
    result = CliRunner().invoke(app, ["backends", "--measure"])
    assert result.exit_code == 0, result.output
    assert "64 channels" in result.output
    assert len(json.loads((folder / "native.json").read_text())) == 2


def test_the_command_says_what_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in (cost_model.FOLDER_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    result = CliRunner().invoke(app, ["backends", "--measure"])
    assert result.exit_code == 0, result.output
    assert "not kept: there is no home folder; ADADSR_CACHE_DIR says where else" in result.output
