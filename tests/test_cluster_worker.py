"""What an actor does with a unit, called here without Ray's scheduling."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra `cluster`; .ci/run installs it")
pytest.importorskip("moto.server", reason="needs moto; .ci/run installs it")

import pyarrow as pa
import ray

from adadsr import batch
from adadsr.cluster import Resources, fetching, sharing, sources, verify
from adadsr.cluster.fetching import Files
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.running import unit_tables
from adadsr.cluster.session import connected, pool_of
from adadsr.cluster.tries import DEATHS
from adadsr.cluster.worker import Worker
from adadsr.errors import InputError, StorageError
from adadsr.storage import objects, open_place
from adadsr.upscaler import Chain, Execution, Target, Upscaler
from batch_samples import tiny_model
from cluster_samples import BAD, order_for, outputs, upload, write_pictures
from s3_samples import ACCESS, Faults, serving


def table_of(source: str, destination: str):
    found = sources.find(source, destination)
    root = Path(destination)
    jobs, _ = batch.jobs_below([each.found for each in found.entries], root)
    names = [str(job.target.relative_to(root)) for job in jobs]
    return unit_tables(found.entries, names, [list(range(len(names)))])[0]


def reference(source: Path, target: Path, execution: Execution | None = None) -> dict[str, bytes]:
    """What one process makes of a folder."""
    chain = Chain.of(Upscaler(tiny_model(), execution, name="tiny"))
    options = batch.Options(clamp_budget=True)
    measured, _ = batch.measure(batch.find_jobs([str(source)], str(target)).to_run, chain.size, options)
    batch.run(chain, measured, options)
    return outputs(target)


def test_outputs_are_those_of_one_process_and_bad_files_have_reasons(here):
    write_pictures(here / "in", 8)
    rows = Worker(order_for("out"))(table_of("in", "out"))
    assert outputs(here / "out") == reference(here / "in", here / "ref")
    by_name = {row["name"]: row for row in rows.to_pylist()}
    assert len(by_name) == 8 + len(BAD)
    assert {name for name, row in by_name.items() if row["status"] == "failed"} == set(BAD)
    assert by_name["empty.png"]["reason"].startswith(f"{here}/in/empty.png: ")
    assert all(row["executed_gmacs"] > 0 for row in by_name.values() if row["status"] == "done")
    assert verify("out") == (8, [])


def test_a_unit_that_was_finished_is_not_done_again(here):
    write_pictures(here / "in", 3)
    table, worker = table_of("in", "out"), Worker(order_for("out"))
    first = worker(table)
    (here / "out/d0/000.png").unlink()
    assert worker(table).equals(first)
    assert not (here / "out/d0/000.png").exists()
    assert "out/d0/000.png: is missing; run the same command again" in verify("out").wrong[0]


def test_what_a_cut_unit_left_is_replaced(here):
    write_pictures(here / "in", 2, bad=False)
    (here / "out/d0").mkdir(parents=True)
    (here / "out/d0/000.png").write_bytes(b"half")
    Worker(order_for("out"))(table_of("in", "out"))
    assert verify("out") == (2, [])
    (here / "out/d0/000.png").write_bytes(b"half")
    assert "has 4 bytes" in verify("out").wrong[0]


def test_an_output_that_cannot_be_read_is_one_of_those_that_are_wrong(here):
    write_pictures(here / "in", 2, bad=False)
    Worker(order_for("out"))(table_of("in", "out"))
    (here / "out/d0/000.png").unlink()
    (here / "out/d0/000.png").mkdir()
    checked, wrong = verify("out")
    assert checked == 2
    assert len(wrong) == 1
    assert "out/d0/000.png: cannot read" in wrong[0]


class Died(BaseException):
    """As if the process had ended."""


def tries_until_done(worker: Worker, table: pa.Table) -> tuple[pa.Table, int]:
    """The rows of a unit, and how many tries died before."""
    for deaths in range(100):
        with contextlib.suppress(Died):
            return worker(table), deaths
    raise AssertionError


def test_pictures_that_kill_their_workers_become_failed_rows_and_the_others_are_done(here, monkeypatch):
    write_pictures(here / "in", 6)
    killers, run = {"001.jpg", "002.webp"}, batch.run

    def fragile(chain, measured, *rest, **named):
        if any(pixels and job.source.name in killers for job, pixels in measured):
            raise Died
        return run(chain, measured, *rest, **named)

    monkeypatch.setattr(batch, "run", fragile)
    rows, deaths = tries_until_done(Worker(order_for("out")), table_of("in", "out"))
    assert deaths == 1 + DEATHS * 2
    reasons = {row["name"]: row["reason"] for row in rows.to_pylist() if row["status"] == "failed"}
    assert set(reasons) == {"d1/001.jpg", "d2/002.webp", *BAD}
    assert reasons["d1/001.jpg"].startswith(f"{here}/in/d1/001.jpg: {DEATHS} workers died running only this image")
    killers.clear()
    expected = reference(here / "in", here / "ref")
    assert outputs(here / "out") == {name: content for name, content in expected.items() if name not in reasons}
    Ledger("out").compact(2, rows)
    assert not list((here / "out/_adadsr/tries").iterdir())


def test_workers_that_are_lost_by_chance_blame_no_picture(here, monkeypatch):
    write_pictures(here / "in", 6, bad=False)
    at, run = ["000.png", "003.tif", "001.jpg", "005.jpg"], batch.run

    def interrupted(chain, measured, *rest, **named):
        if at and at[0] in [job.source.name for job, _ in measured]:
            del at[0]
            raise Died
        return run(chain, measured, *rest, **named)

    monkeypatch.setattr(batch, "run", interrupted)
    rows, deaths = tries_until_done(Worker(order_for("out")), table_of("in", "out"))
    assert (deaths, rows.num_rows, set(rows["status"].to_pylist())) == (4, 6, {"done"})
    assert outputs(here / "out") == reference(here / "in", here / "ref")


def test_a_picture_that_kills_sketches_has_none(here, monkeypatch):
    write_pictures(here / "in", 4, bad=False)

    def fragile(chain, job, options):
        job.store.open()
        if job.source.name == "001.jpg":
            raise Died
        return sharing_sketch(chain, job, options)

    class Watched(Files):
        def __init__(self, *given):
            super().__init__(*given)
            watched.append(self)

    watched: list[Files] = []
    sharing_sketch = sharing.sketch
    monkeypatch.setattr(sharing, "sketch", fragile)
    monkeypatch.setattr(fetching, "Files", Watched)
    order = order_for("out", target=Target(budget=0.5))
    upload(here / "in", "memory://sketched")
    rows, deaths = tries_until_done(sharing.Sketcher(order), table_of("memory://sketched", "out"))
    assert deaths == 1 + DEATHS
    assert sorted(rows["name"].to_pylist()) == ["d0/000.png", "d0/003.tif", "d2/002.webp"]
    assert not [files.name for files in watched[-4:] if files._content is not None]


def test_a_source_that_vanishes_is_a_failure_of_its_own(here):
    write_pictures(here / "in", 3, bad=False)
    table = table_of("in", "out")
    (here / "in/d1/001.jpg").unlink()
    rows = Worker(order_for("out"))(table).to_pylist()
    assert [row["name"] for row in rows if row["status"] == "failed"] == ["d1/001.jpg"]
    assert "no such file" in next(row["reason"] for row in rows if row["reason"])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.01)
    with serving() as (address, faults):
        for name, value in {**ACCESS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        import fsspec

        fsspec.filesystem("s3").makedirs("faulty", exist_ok=True)
        yield faults


def test_a_bucket_that_does_not_exist_is_named(server):
    with pytest.raises(StorageError, match="s3://nowhere/in: no such bucket; check its name"):
        sources.find("s3://nowhere/in", "out")
    with pytest.raises(InputError, match="s3://faulty/nothing: no images here"):
        sources.find("s3://faulty/nothing", "out")


def test_ray_that_does_not_start_says_so(monkeypatch):
    def fail(*given, **named):
        raise Exception("The current node timed out during startup. This could happen.")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(StorageError, match=r"Ray did not start on this machine \(The current"):  # noqa: SIM117
        with connected(Resources()):
            pass
    with pytest.raises(StorageError, match=r"no Ray cluster at head:1 \(The current .*\); start one with ray"):  # noqa: SIM117
        with connected(Resources("head:1")):
            pass


@pytest.mark.parametrize("cores", [0, 3])
def test_a_number_of_workers_lets_a_cluster_grow_from_what_fits(monkeypatch, cores):
    node = {"Alive": True, "Resources": {"CPU": cores, "memory": 2**40}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    assert pool_of(Resources("auto", workers=8), Execution())[:2] == (cores, 8)
    for resources, advice in ((Resources("auto"), "or pass --workers if"), (Resources(workers=8), "lower --cores")):
        if cores:
            assert pool_of(resources, Execution()).first == cores
        else:
            with pytest.raises(InputError, match=advice):
                pool_of(resources, Execution())


def test_a_bucket_that_fails_now_and_then(here, server):
    """500s, slow-downs and truncated answers: all outputs are there, once, and as those of a folder."""
    write_pictures(here / "in", 6)
    upload(here / "in", "s3://faulty/in")
    (here / "in" / "cut.png").unlink()
    table = table_of("s3://faulty/in", "s3://faulty/out")
    open_place("s3://faulty/in").remove("cut.png")
    server.every = 4
    try:
        rows = Worker(order_for("s3://faulty/out"))(table).to_pylist()
    finally:
        server.every = 0
    assert server.counts["faults"] > 3
    place = open_place("s3://faulty/out")
    expected = reference(here / "in", here / "ref")
    assert {file.name for file in place.files() if not file.name.startswith("_adadsr")} == set(expected)
    for name, content in expected.items():
        assert place.read(name) == content
    failed = {row["input"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert set(failed) == {f"s3://faulty/in/{name}" for name in BAD}
    assert "no such object; it was removed" in failed["s3://faulty/in/cut.png"]
    assert failed["s3://faulty/in/empty.png"].startswith("s3://faulty/in/empty.png: ")
    assert verify("s3://faulty/out") == (6, [])
    assert Ledger("s3://faulty/out").rows().num_rows == 6 + len(BAD)
