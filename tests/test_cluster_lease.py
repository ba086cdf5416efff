"""One run at a time writes to a destination."""

import json
import multiprocessing
import subprocess
import sys

import pytest

pytest.importorskip("pyarrow", reason="needs the extra `cluster`; .ci/run installs it")

from adadsr.cluster import lease
from adadsr.errors import StorageError
from adadsr.storage import open_place


def test_the_second_run_is_refused_and_the_next_goes_on(tmp_path):
    place = open_place(str(tmp_path))
    with lease.held(place), pytest.raises(StorageError, match=r"another run \(.*, process \d+\) writes here"):  # noqa: SIM117
        with lease.held(place):
            pass
    with lease.held(place):
        pass


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    code = f"""
import os
from adadsr.cluster import lease
from adadsr.storage import open_place
with lease.held(open_place({str(tmp_path)!r})):
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (before,) = (tmp_path / "lease").iterdir()
    assert json.loads(before.read_bytes())["ended"] is False
    with lease.held(open_place(str(tmp_path))):
        pass


def test_one_of_another_machine_ends_after_a_while(tmp_path):
    place, now = open_place(str(tmp_path)), 1000.0
    content = {
        "owner": "far",
        "host": "far",
        "process": 1,
        "started": "1",
        "nonce": "x",
        "renewed": now,
        "ended": False,
    }
    place.create("lease/000001.json", json.dumps(content).encode())
    with pytest.raises(StorageError, match="last seen 59 s ago"), lease.held(place, lambda: now + 59):
        pass
    with lease.held(place, lambda: now + lease.EXPIRES + 1) as held:
        held.check()


def test_a_run_that_lost_its_lease_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED", 0.01)
    place = open_place(str(tmp_path))
    with lease.held(place) as held:
        place.create("lease/000002.json", b"{}")
        held._thread.join()
        with pytest.raises(lease.Lost, match="another run took over"):
            held.check()


@pytest.mark.parametrize("others", [1, 2, 3])
def test_a_paused_run_stops_after_later_runs(tmp_path, monkeypatch, others):
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    place = open_place(str(tmp_path))
    paused = lease.Lease(place, 1, lambda: 0.0)
    place.create("lease/000001.json", paused._content())
    for _ in range(others):
        with lease.held(place, lambda: lease.EXPIRES + 1):
            pass
    paused._thread.start()
    paused._thread.join(5)
    with pytest.raises(lease.Lost, match="another run took over"):
        paused.check()


def test_of_several_at_once_one_gets_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert sum(pool.map(_try_lease, [str(tmp_path)] * 3)) == 1


def _try_lease(folder: str) -> bool:
    import time

    try:
        with lease.held(open_place(folder)):
            time.sleep(3)
            return True
    except StorageError:
        return False
