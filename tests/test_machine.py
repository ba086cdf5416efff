"""What the machine offers: threads, the processor's name, the cache folder."""

import os
from pathlib import Path

import pytest

from adadsr import machine
from adadsr.errors import InputError
from adadsr.machine import cache_folder, default_threads, processor_name
from adadsr.training.session import default_cache


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*machine.THREAD_VARIABLES, machine.CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the control groups', in whose root the process is, with four processors to use."""
    (tmp_path / "own").write_text("9:memory:/else\n1:cpuset:/else\n2:cpu,cpuacct:/\n0::/\n")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_processors", lambda: 4)
    return tmp_path


def test_our_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert default_threads() == 3
    monkeypatch.setenv("ADADSR_THREADS", "7")
    assert default_threads() == 7


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_our_variable_has_to_be_a_number_of_threads(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ADADSR_THREADS", text)
    with pytest.raises(InputError, match=f"ADADSR_THREADS={text} "):
        default_threads()


def test_a_foreign_variable_that_makes_no_sense_is_ignored(monkeypatch: pytest.MonkeyPatch, cgroup: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "dynamic")
    assert default_threads() == 4


def test_the_process_uses_what_it_may(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("content", "threads"),
    [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("broken", 4), ("", 4)],
)
def test_a_quota_of_processor_time_counts(cgroup: Path, content: str, threads: int) -> None:
    (cgroup / "cpu.max").write_text(content)
    assert default_threads() == threads


@pytest.mark.parametrize(("quota", "threads"), [("-1", 4), ("250000", 3)])
def test_the_first_version_of_control_groups_counts_too(cgroup: Path, quota: str, threads: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu/cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu/cpu.cfs_period_us").write_text("100000")
    assert default_threads() == threads


@pytest.mark.parametrize(
    ("version", "groups", "threads"),
    [
        (2, {"job.slice/step": "200000 100000"}, 2),
        (2, {"job.slice": "200000 100000", "job.slice/step": "max 100000"}, 2),
        (2, {"job.slice": "100000 100000", "job.slice/step": "300000 100000"}, 1),
        (2, {"job.slice": "300000 100000", "job.slice/step": "200000 100000", "else": "100000 100000"}, 2),
        (1, {"job.slice": "300000 100000", "job.slice/step": "-1 100000"}, 3),
        (1, {".": "300000 100000"}, 3),  # a container that sees its own group as the root
    ],
)
def test_the_smallest_quota_of_all_groups_around_the_process_counts(
    cgroup: Path, version: int, groups: dict[str, str], threads: int
) -> None:
    (cgroup / "own").write_text("0::/job.slice/step\n" if version == 2 else "5:cpu,cpuacct:/job.slice/step\n0::/\n")
    for name, content in groups.items():
        group = cgroup / name if version == 2 else cgroup / "cpu" / name
        group.mkdir(parents=True, exist_ok=True)
        if version == 2:
            (group / "cpu.max").write_text(content)
        else:
            for part, value in zip(("quota", "period"), content.split(), strict=True):
                (group / f"cpu.cfs_{part}_us").write_text(value)
    assert default_threads() == threads


@pytest.mark.parametrize("content", [None, ""])
def test_a_system_without_control_groups_has_no_quota(cgroup: Path, content: str | None) -> None:
    (cgroup / "cpu.max").write_text("100000 100000")
    (cgroup / "own").unlink() if content is None else (cgroup / "own").write_text(content)
    assert default_threads() == 4


def test_the_processor_has_a_name() -> None:
    assert processor_name()


def test_the_variable_comes_before_the_users_caches_and_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "adadsr"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "adadsr"
    assert default_cache() == tmp_path / "caches" / "adadsr" / "lr"
    monkeypatch.setenv(machine.CACHE_VARIABLE, str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"


def test_training_does_without_a_cache_where_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert default_cache() is None
