"""What a run decides before any actor starts: inputs, units, who may write, what is left to do."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="needs the extra `cluster`; .ci/run installs it")

import pyarrow as pa
import pyarrow.parquet as pq

from adadsr.batch import LeftOut
from adadsr.cli import batch_display
from adadsr.cluster import (
    Collection,
    Outcome,
    Progress,
    Resources,
    manifest,
    reporting,
    run,
    sources,
    units,
    verify,
)
from adadsr.cluster.ledger import FOLDER, Ledger
from adadsr.cluster.planning import plan, still_true
from adadsr.cluster.sources import Entry
from adadsr.errors import InputError, StorageError
from adadsr.storage import open_place
from adadsr.upscaler import Execution, Target
from cluster_samples import collection, write_pictures


def rows_of(*names: str, status: str = "done", attempt: int = 1, etag: str = "") -> pa.Table:
    """Of inputs with the names of their outputs, below `/in`."""
    empty: dict[str, Any] = dict.fromkeys(manifest.SCHEMA.names)
    return manifest.table_of(
        [
            empty | {"name": name, "input": f"/in/{name}", "status": status, "attempt": attempt, "etag": etag}
            for name in names
        ]
    )


def test_names_that_collide_after_a_change_of_format_become_distinct(here):
    write_pictures(here / "in", 1, bad=False)
    (here / "in/d0/000.jpg").write_bytes(b"x")
    found = sources.find("in", "out")
    book = Ledger("out")
    asked = Collection("in", "out", suffix=".webp")
    todo = plan(asked, found, book)
    assert sorted(todo.names) == ["d0/000.jpg.webp", "d0/000.png.webp"]
    assert "2 outputs would share names" in todo.notes[0]


class TestUnits:
    @given(st.lists(st.floats(1, 1e6), min_size=1, max_size=300), st.integers(1, 20))
    def test_every_input_is_in_one_unit(self, costs, workers):
        parts = units.cut(costs, workers)
        assert sorted(index for part in parts for index in part) == list(range(len(costs)))
        assert all(len(part) <= units.MOST_INPUTS for part in parts)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 30))
    def test_workers_end_together(self, seed, workers):
        """Within the largest input and a share of the rest: the bound of guided self-scheduling."""
        costs = np.random.default_rng(seed).pareto(1.5, 500) + 0.1
        parts = units.cut(list(costs), workers)
        ends = units.makespan([float(costs[part].sum()) for part in parts], workers)
        assert ends <= costs.sum() / workers * (1 + 1 / units.SHARES) + costs.max()


class TestLedger:
    def test_other_options_are_refused_with_the_difference(self, tmp_path):
        book = Ledger(str(tmp_path))
        book.check_options({"target": "budget=0.5", "quality": None})
        book.check_options({"target": "budget=0.5", "quality": None})
        book.add(1, 0, rows_of("a"))
        with pytest.raises(InputError, match=r"other options \(target was budget=0.5, is budget=0.6\); pass the same"):
            book.check_options({"target": "budget=0.6", "quality": None})
        book.clear()
        book.check_options({"target": "budget=0.6", "quality": None})

    def test_options_of_a_run_that_wrote_no_output_bind_nobody(self, tmp_path):
        book = Ledger(str(tmp_path))
        book.check_options({"target": "budget=0.5"})
        book.plan(1, {"a.png": "/in/a.png"})
        book.add(1, 0, rows_of("a.png", status="failed"))
        book.check_options({"target": "budget=0.6"})
        assert book.rows().num_rows == 0
        book.plan(1, {"a.png": "/in/a.png"})
        (tmp_path / "a.png").write_bytes(b"of a unit that was cut short")
        with pytest.raises(InputError, match=r"target was budget=0.6, is budget=0.7"):
            book.check_options({"target": "budget=0.7"})

    def test_a_unit_is_written_once(self, tmp_path):
        book = Ledger(str(tmp_path))
        first, second = rows_of("a", "b"), rows_of("a", "b", status="failed")
        assert book.add(1, 3, first).equals(first)
        assert book.add(1, 3, second).equals(first)
        assert book.rows().num_rows == 2

    def test_compacting_may_be_cut_short_anywhere(self, tmp_path):
        book = Ledger(str(tmp_path))
        for unit in range(3):
            book.add(1, unit, rows_of(f"{unit}a", f"{unit}b"))
        parts = {path: path.read_bytes() for path in (tmp_path / FOLDER / "manifest").iterdir()}
        book.compact(2, book.rows())
        for path, content in parts.items():  # as if nothing had been removed
            path.write_bytes(content)
        assert sorted(book.rows()["name"].to_pylist()) == sorted(f"{unit}{half}" for unit in range(3) for half in "ab")
        assert book.next_attempt() == 3
        book.add(3, 0, rows_of("new"))
        assert book.rows().num_rows == 7

    def test_rows_of_lost_outputs_changed_inputs_and_failures_do_not_stay(self):
        rows = pa.concat_tables([rows_of("a", "b", "c", etag="1"), rows_of("d", status="failed")])
        entries = [Entry(f"/in/{name}", None, 1, tag) for name, tag in zip("abcd", "1121", strict=True)]
        assert still_true(rows, entries, list("abcd"), {"a", "c", "d"})["name"].to_pylist() == ["a"]

    def test_a_row_of_another_input_stays(self):
        entries = [Entry("/elsewhere/a", None, 1, "2")]
        assert still_true(rows_of("a", etag="1"), entries, ["a"], {"a"}).num_rows == 1

    @pytest.mark.parametrize(
        ("name", "use"),
        [
            ("plans/000001.parquet", Ledger.planned),
            ("manifest/000001-000000.parquet", Ledger.rows),
            ("shared.parquet", Ledger.factors),
            ("shared.json", Ledger.decision),
        ],
    )
    def test_what_another_version_left_is_refused(self, tmp_path, name, use):
        book, file = Ledger(str(tmp_path)), io.BytesIO()
        pq.write_table(pa.table({"name": ["a.png"]}), file)
        book.place.replace(name, b'{"name": 1}' if name.endswith(".json") else file.getvalue())
        with pytest.raises(InputError, match="another version of adadsr; pass --overwrite to begin anew"):
            use(book)


def test_outputs_of_others_are_skipped_and_those_of_cut_units_are_not(here):
    write_pictures(here / "in", 4, bad=False)
    found = sources.find("in", "out")
    (here / "out/d0").mkdir(parents=True)
    (here / "out/d0/000.png").write_bytes(b"somebody's")
    (here / "out/d1").mkdir()
    (here / "out/d1/001.jpg").write_bytes(b"cut short")
    book = Ledger("out")
    book.plan(1, {"d1/001.jpg": str(here / "in/d1/001.jpg")})
    todo = plan(collection("in", "out", None), found, book)
    assert (todo.attempt, todo.skipped) == (2, ["out/d0/000.png"])
    assert sorted(todo.names) == ["d0/003.tif", "d1/001.jpg", "d2/002.webp"]
    assert len(plan(collection("in", "out", None, overwrite=True), found, book).names) == 4


@pytest.mark.parametrize("is_done", [True, False])
def test_an_output_belongs_to_its_input(here, is_done):
    """Another one of the same name is skipped with a sentence, in folders and in lists, until the output is gone."""
    for folder in "ab":
        write_pictures(here / folder, 1, bad=False)
        (here / f"{folder}.txt").write_text(f"memory://{folder}/d0/000.png")
    for source, other, first in (("a", "b", str(here / "a/d0/000.png")), ("a.txt", "b.txt", "memory://a/d0/000.png")):
        out, name = f"out-{source}", "000.png" if source == "a.txt" else "d0/000.png"
        book = Ledger(out)
        book.plan(1, {name: first})
        if is_done:
            (row,) = rows_of(name).to_pylist()
            book.add(1, 0, manifest.table_of([row | {"input": first}]))
        open_place(out).create(name, b"of a")
        todo = plan(collection(other, out, None), sources.find(other, out), book)
        assert (todo.names, todo.kept.num_rows) == ([], is_done)
        assert todo.skipped == ([] if is_done else [f"{out}/{name}"])  # one with a row counts as done
        assert f"{out}/{name} belongs to {first}, not to {first.replace('/a/', '/b/')}, and was left" in todo.notes[0]
        assert plan(collection(source, out, None), sources.find(source, out), book).skipped == []
        open_place(out).remove(name)
        assert plan(collection(other, out, None), sources.find(other, out), book).names == [name]


def test_a_folder_is_the_same_however_it_is_spelled(here, monkeypatch):
    write_pictures(here / "in", 1, bad=False)
    book = Ledger(str(here / "out"))
    first = plan(collection("in", "out", None), sources.find("in", "out"), book)
    open_place("out").create(first.names[0], b"cut short")
    os.symlink("in", here / "link")
    for spelled in ("link", "../in"):
        again = plan(collection(spelled, str(here / "out"), None), sources.find(spelled, str(here / "out")), book)
        assert (again.names, again.skipped) == (first.names, [])
        monkeypatch.chdir(here / "in")


def test_a_destination_that_cannot_be_written_is_refused_before_anything_runs(here):
    write_pictures(here / "in", 1, bad=False)
    (here / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/_adadsr/lease/000001.json: cannot write"):
        run(collection("in", "file", None), Resources())


def test_a_run_may_resume_with_other_resources_but_not_for_other_outputs():
    def of(**options: Any) -> dict[str, Any]:
        return Collection("in", "out", execution=Execution(**options)).fingerprint(None)

    assert of() == of(memory=2**30) == of(device="cpu") == of(backend="portable")
    assert of() != of(tile=64)
    assert of() != of(precision="bfloat16")


def test_a_depth_that_the_network_lacks_is_refused_before_ray_starts(here):
    write_pictures(here / "in", 1, bad=False)
    with pytest.raises(InputError, match="depth=99 is outside"):
        run(collection("in", "out", None, target=Target(depth=99.0)), Resources())
    assert not (here / "out").exists()


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(batch_display.time, "monotonic", lambda: now[0])
    with batch_display.watch(quiet=False) as show:
        for now[0] in (59.0, 61.0, 62.0, 122.0):
            show(Progress(40, 100.0, done=int(now[0]) // 10, started=0.0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["6/40 images, 0.0 MP", "12/40 images, 0.0 MP"]


def test_a_report_of_full_depth_names_no_loss(tmp_path):
    facts = {"output_size": [2000, 1000], "executed_gmacs": 3.0, "dense_gmacs": 3.0, "total_seconds": 4.4}
    facts |= {"predicted_loss": 0.0, "achieved_budget": 1.0, "status": "done"}
    rows = manifest.table_of([dict.fromkeys(manifest.SCHEMA.names) | facts])
    outcome = Outcome(rows, [], None, [], [], LeftOut(), 5.0)
    assert reporting.plotted(rows) is None
    assert reporting.as_markdown(reporting.as_json(outcome), rows, has_plot=False).splitlines()[2:] == [
        "- 1 done",
        "- 2.0 megapixels of outputs",
        "- 100.0% of the full network's cost",
        "- 5 s for the last run; 4 s of all workers",
    ]


def test_lossy_pictures_are_counted():
    facts = {"output_size": [20, 10], "executed_gmacs": 3.0, "dense_gmacs": 3.0, "status": "done"}
    formats = ("JPEG", None, "TIFF", "JPEG")
    rows = manifest.table_of([dict.fromkeys(manifest.SCHEMA.names) | facts | {"chosen_for": each} for each in formats])
    outcome = Outcome(rows, [], None, [], [], LeftOut(), 5.0)
    assert (content := reporting.as_json(outcome))["chosen_for"] == {"JPEG": 2, "TIFF": 1}
    assert "- 3 of them lossy (network for photos)" in reporting.as_markdown(content, rows, has_plot=False)
    assert batch_display.summary(outcome).startswith("4 of 4 images upscaled in 5.0 s, 3 of them lossy (network for")


def test_a_report_names_every_failure():
    row = dict.fromkeys(manifest.SCHEMA.names) | {"status": "failed", "reason": "a.png: is empty", "output_size": []}
    rows = manifest.table_of([row])
    outcome = Outcome(rows, [], None, [(Path("ftp:/x"), "ftp://x: unknown scheme")], [], LeftOut(), 5.0)
    told = reporting.as_markdown(reporting.as_json(outcome), rows, has_plot=False).splitlines()
    assert "- 2 failed" in told
    assert told[-2:] == ["- ftp://x: unknown scheme", "- a.png: is empty"]


def test_a_report_of_many_failures_counts_those_that_it_does_not_list(monkeypatch):
    monkeypatch.setattr(reporting, "MOST_IMAGES", 300)
    failures = [(Path(f"{number}"), f"ftp://{number}: unknown scheme") for number in range(305)]
    rows = manifest.table_of([])
    content = reporting.as_json(Outcome(rows, [], None, failures, [], LeftOut(), 5.0))
    assert (len(content["failures"]), content["more_failures"], content["counts"]["failed"]) == (300, 5, 305)
    told = reporting.as_markdown(content, rows, has_plot=False).splitlines()
    assert told[-1] == "- and 105 more, in report.json and the manifest"


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(InputError, match="shared needs a budget"):
        Collection("in", "out", shared=True)
    with pytest.raises(InputError, match="hours=0 must be above 0"):
        Collection("in", "out", hours=0.0)
    with pytest.raises(InputError, match="workers=0 must be at least 1"):
        Resources(workers=0)
    with pytest.raises(InputError, match="has no manifest"):
        verify("/nowhere")
