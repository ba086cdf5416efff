"""Where caches lie."""

from pathlib import Path

import pytest

from adadsr.caches import cache_folder
from adadsr.training.session import default_cache


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_variable_comes_before_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "adadsr"
    assert default_cache() == tmp_path / "caches" / "adadsr" / "lr"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "adadsr"


def test_training_does_without_where_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert default_cache() is None
