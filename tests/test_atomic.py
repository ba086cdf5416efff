"""A file appears under its name whole or not at all."""

import os
import stat

import pytest

from adadsr import atomic


def test_a_file_is_replaced_at_the_end_and_has_normal_permissions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic.replacing(path) as hidden:
        hidden.write_text("new")
        assert hidden.parent == tmp_path
        assert hidden.name.startswith(".")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic.replacing(path) as hidden:
            hidden.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("a.txt")
    atomic.write_text(tmp_path / "link", "ä")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.txt").read_bytes() == "ä".encode()


def test_a_folder_that_takes_no_files(tmp_path):
    atomic.check_folder(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        atomic.check_folder(tmp_path / "none")
