"""The JSON report of a run."""

import json
import os
from pathlib import Path

import pytest

from adadsr import batch
from adadsr.batch import Options
from adadsr.errors import InputError
from adadsr.upscaler import Size, Target
from batch_samples import tiny_chain, write


def test_the_report_tells_all_and_is_written_whole(here):
    write(here / "in/a.png", 8, 12)
    write(here / "in/b.png")
    write(here / "out/b.png")
    (here / "in/notes.txt").write_text("x")
    jobs = batch.find_jobs(["in", "none*"], "out")
    path = here / "reports/run.json"
    batch.prepare_json(path, jobs)
    measured, _ = batch.measure(jobs.to_run, Size(scale=2), Options())
    chain = tiny_chain()
    run = batch.run(chain, measured, Options(Target(budget=0.7)))
    batch.write_json(path, batch.as_json(batch.settled(jobs) + run.results, jobs))
    report = json.loads(path.read_text())
    assert os.listdir(path.parent) == ["run.json"]
    assert (report["left_out"], report["notes"]) == ({"other files": {".txt": 1}}, [])
    assert report["counts"] == {"done": 1, "skipped": 1, "failed": 1, "not run": 0}
    failed, skipped, done = report["images"]
    assert failed.keys() == skipped.keys() == done.keys()
    assert (failed["input"], failed["output"], failed["executed_gmacs"]) == ("none*", None, None)
    assert (skipped["status"], skipped["output"]) == ("skipped", "out/b.png")
    assert (done["input_size"], done["output_size"], done["status"]) == ([12, 8], [24, 16], "done")
    assert (done["model"], done["backend"], done["device"], done["scale"]) == (
        "tiny",
        chain.engine.backend,
        "cpu",
        2,
    )
    assert done["executed_gmacs"] / done["dense_gmacs"] == pytest.approx(done["achieved_budget"], abs=1e-3)
    assert done["total_seconds"] > 0


def test_a_report_replaces_an_earlier_one_and_nothing_else(here):
    jobs = batch.find_jobs([], "out")
    path = here / "report.json"
    batch.write_json(path, batch.as_json([], jobs))
    batch.prepare_json(path, jobs)
    for content in (b"", b"mine", b'{"adadsr": 1}'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"report\.json: exists and is not an adadsr report"):
            batch.prepare_json(path, jobs)


def test_a_report_that_would_replace_an_image_is_refused(here):
    write(here / "a.png")
    jobs = batch.find_jobs(["a.png"], "b.png")
    for path, message in (
        ("a.png", "would overwrite an image"),
        ("b.png", "would overwrite"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            batch.prepare_json(Path(path), jobs)
