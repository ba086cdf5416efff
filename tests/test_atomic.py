"""A file appears under its name whole or not at all."""

import os
import stat
import subprocess
import sys

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


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("appears", [True, False])
def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path, monkeypatch, appears, has_links):
    def no_link(*_):
        raise OSError("no hard links here")

    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "a.txt"

    def write():
        with atomic.replacing(path, overwrite=False) as hidden:
            hidden.write_text("ours")
            if appears:
                path.write_text("theirs")

    if appears:
        with pytest.raises(FileExistsError):
            write()
    else:
        write()
    assert path.read_text() == ("theirs" if appears else "ours")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert not atomic.create(path, b"again")
    assert atomic.create(tmp_path / "b.txt", b"new")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_name_that_was_reserved_in_vain_is_free_again(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error):
        atomic.create(tmp_path / "a.txt", b"new")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("a.txt")
    atomic.write_text(tmp_path / "link", "ä")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.txt").read_bytes() == "ä".encode()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o777])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with atomic.replacing(path) as hidden:
        assert stat.S_IMODE(hidden.stat().st_mode) & ~mode & 0o077 == 0  # no moment at which others can read it
        hidden.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


def test_permissions_are_those_of_the_file_behind_a_link(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o600)
    (tmp_path / "link").symlink_to("a.txt")
    atomic.write_text(tmp_path / "link", "new")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o600


def test_the_folder_is_synced_after_the_file_took_its_name(tmp_path, monkeypatch):
    synced = []
    original = os.fsync

    def fsync(descriptor):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "a.txt").exists()))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_text(tmp_path / "a.txt", "x")
    assert synced == [(False, False), (True, True)]


def test_many_files_share_the_sync_of_their_folder(tmp_path, monkeypatch):
    synced = []
    (tmp_path / "deep").mkdir()
    monkeypatch.setattr(atomic, "_sync_folder", synced.append)

    def write_all():
        with atomic.folders_synced_at_end():
            for name in ("a", "b", "deep/c", "deep/d"):
                atomic.write_text(tmp_path / name, "x")
            assert synced == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "deep")]
    atomic.write_text(tmp_path / "a", "x")
    assert synced[2:] == [str(tmp_path)]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    original = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_text(tmp_path / "a.txt", "x")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_takes_no_files(tmp_path):
    atomic.check_folder(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        atomic.check_folder(tmp_path / "none")


HOLD = """
import sys, time
from adadsr import atomic
with atomic.replacing(sys.argv[1]) as hidden:
    hidden.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and file locks")
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a.txt")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    assert len(list(tmp_path.iterdir())) == 2
    processes[0].kill()
    processes[0].wait()
    atomic.check_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    processes[1].kill()
    processes[1].wait()
    atomic.check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for process in processes:
        process.stdout.close()
