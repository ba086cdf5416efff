"""A real Ray cluster of two nodes: the driver dies, then a node; every output is there once, and as of one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra `cluster`; .ci/run installs it")
pytest.importorskip("moto.server", reason="needs moto; .ci/run installs it")

import ray
from ray.cluster_utils import Cluster

from adadsr import batch
from adadsr.batch import Options
from adadsr.cluster import Collection, Progress, Resources, run, running, verify
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Order
from adadsr.cluster.tries import DEATHS
from adadsr.cluster.worker import Worker
from adadsr.errors import InputError
from adadsr.upscaler import Execution, Target
from cluster_samples import bad_files, collection, outputs, save_tiny, upload, write_pictures
from s3_samples import ACCESS, serving
from test_cluster_worker import reference

PICTURES, MOST_SIDE = (
    int(os.environ.get(name, default))
    for name, default in {"ADADSR_CLUSTER_PICTURES": "30", "ADADSR_CLUSTER_SIDE": "150"}.items()
)
"""Of the test that kills; `make cluster-test` has more and larger ones."""
DRIVER = """
import sys
from adadsr.cli import main
main()
"""
KILLER = "002.webp"
SOON = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""When Ray takes a node for dead: by default after half a minute."""
MEMORY = 64 if MOST_SIDE < 500 else 512
SMALL = Execution(memory=MEMORY * 2**20)
"""What small nodes have for an actor."""


class Nodes:
    """A cluster whose head runs nothing, and two nodes of one core."""

    def __init__(self) -> None:
        sizes = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SOON, **sizes})
        self.nodes = [self.cluster.add_node(num_cpus=1, **sizes) for _ in range(2)]

    @property
    def resources(self) -> Resources:
        return Resources(self.cluster.address)

    def kill_one(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A bucket that the nodes can reach."""
    with serving() as (address, _), pytest.MonkeyPatch.context() as patch:
        for name, value in {**ACCESS, "AWS_ENDPOINT_URL": address, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        import fsspec

        fsspec.filesystem("s3").makedirs("photos", exist_ok=True)
        yield


@pytest.fixture(scope="module")
def nodes(server: None) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OMP_NUM_THREADS", "1")
        started = Nodes()
        yield started
        ray.shutdown()
        started.cluster.shutdown()


def start_driver(nodes: Nodes, source: str, destination: str, model: str) -> subprocess.Popen[bytes]:
    """`adadsr batch` in a process of its own."""
    given = ["batch", source, destination, "-m", model, "--address", nodes.cluster.address, "--memory", f"{MEMORY}M"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", DRIVER, *given], **quiet)


def wait_for_outputs(folder: Path, count: int, driver: subprocess.Popen[bytes]) -> None:
    """Return when so many outputs are there."""
    end = time.monotonic() + 90 + MOST_SIDE / 10
    while len(list(folder.rglob("d?/*.*"))) < count:
        assert driver.poll() is None, driver.stderr.read().decode()
        assert time.monotonic() < end, "too few outputs in time"
        time.sleep(0.1)


def test_a_killed_driver_then_a_killed_node_lose_nothing_and_do_nothing_twice(nodes, here):
    write_pictures(here / "in", PICTURES, most=MOST_SIDE)
    model, small = save_tiny(here), replace(collection("in", "out", None), execution=SMALL)
    driver = start_driver(nodes, "in", "out", model)
    wait_for_outputs(here / "out", 4, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = len(outputs(here / "out"))
    killed = []

    def kill(progress: Progress) -> None:
        if not killed and progress.done > 2:
            nodes.kill_one()
            killed.append(progress.done)

    outcome = run(replace(small, model=model), nodes.resources, progress=kill)
    assert before >= 4
    assert killed
    assert (outcome.done, outcome.failed) == (PICTURES, len(bad_files(PICTURES)))
    assert outputs(here / "out") == reference(here / "in", here / "ref", SMALL)
    names = Ledger("out").rows()["name"].to_pylist()
    assert len(names) == len(set(names)) == PICTURES + len(bad_files(PICTURES))
    assert len(list((here / "out/_adadsr/manifest").iterdir())) == 1
    assert verify("out") == (PICTURES, [])


class Fragile(Worker):
    """Dies at some pictures, as of a decoder that crashes."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        run = batch.run

        def fragile(chain, measured, *rest, **named):
            if any(pixels and job.source.name == KILLER for job, pixels in measured):
                os._exit(1)
            return run(chain, measured, *rest, **named)

        batch.run = fragile  # of a process that runs nothing else


def test_a_picture_that_kills_its_workers_does_not_hold_up_the_run(nodes, here, monkeypatch):
    """On the node that is left."""
    write_pictures(here / "in", 6, bad=False)
    monkeypatch.setattr(running, "map_units", partial(running.map_units, worker=Fragile))
    small = replace(collection("in", "out", save_tiny(here)), execution=SMALL)
    outcome = run(small, nodes.resources)
    assert (outcome.done, outcome.failed) == (5, 1)
    assert f"{KILLER}: {DEATHS} workers died running only this image" in outcome.reasons(1)[0]


def test_a_cluster_that_adds_no_node_in_time_is_refused(nodes, here, monkeypatch):
    write_pictures(here / "in", 2, bad=False)
    monkeypatch.setattr(running, "START_SECONDS", 1)
    large = replace(collection("in", "out", save_tiny(here)), execution=Execution(memory=2**42))
    with pytest.raises(InputError, match=r"no node of the cluster has 1 core and 4096\.4 GiB for one actor, and none"):
        run(large, replace(nodes.resources, workers=4))


def test_a_bucket_and_a_shared_budget(nodes, here):
    """On the node that is left."""
    write_pictures(here / "in", 6, bad=False, most=120)
    upload(here / "in", "s3://photos/in")
    asked = Collection(
        "s3://photos/in",
        "s3://photos/out",
        execution=SMALL,
        options=Options(Target(budget=0.5)),
        shared=True,
        suffix=".png",
    )
    planning = []
    outcome = run(asked, nodes.resources, progress=lambda progress: planning.append(progress.is_planning))
    assert (outcome.done, outcome.failed, outcome.skipped) == (6, 0, [])
    assert planning[0]
    assert not planning[-1]
    assert outcome.decision is not None
    assert 0.4 < outcome.share <= 0.55  # pictures of few tiles leave few choices, and a curve is a sample
    assert verify("s3://photos/out") == (6, [])
    rows = outcome.rows.to_pylist()
    gain, factors = outcome.decision.least_gain, Ledger("s3://photos/out").factors()
    assert {row["name"]: row["least_gain"] for row in rows} == {name: gain / each for name, each in factors.items()}
    again = run(asked, nodes.resources)
    assert (again.done, again.earlier) == (6, 6)
    assert again.seconds < outcome.seconds
