import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from adadsr import batch, images
from adadsr.batch import Options, Status
from adadsr.batch.interrupts import Interrupts
from adadsr.errors import ImageFileError, InputError
from adadsr.models import Network, NetworkConfig
from adadsr.sparse.backends import default_backend
from adadsr.upscaler import Upscaler


def write(path, height=12, width=10, channels=3, alpha=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    if alpha is not None:
        pixels[..., -1] = alpha
    images.write_image(path, images.picture_from_array(pixels))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def upscaler():
    torch.manual_seed(0)
    config = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4)
    return Upscaler(Network(config), name="tiny")


def pairs(plan):
    return {str(job.source): str(job.target) for job in plan.jobs}


def test_a_file_goes_to_the_file_that_is_named(here):
    write(here / "a.png")
    assert pairs(batch.plan(["a.png"], "b.jpg")) == {"a.png": "b.jpg"}


@pytest.mark.parametrize("out", ["out", "out/", "results.v2"])
def test_a_file_goes_to_a_folder_under_its_name(here, out):
    write(here / "a.png")
    assert pairs(batch.plan(["a.png"], out)) == {"a.png": str(Path(out) / "a.png")}


def test_an_existing_folder_is_a_folder_whatever_its_name(here):
    write(here / "a.png")
    (here / "x.png").mkdir()
    assert pairs(batch.plan(["a.png"], "x.png")) == {"a.png": "x.png/a.png"}


def test_folders_keep_their_structure_without_hidden_and_other_files(here):
    for name in ("in/a.png", "in/deep/er/b.jpg", "in/.hidden/c.png", "in/._a.png"):
        write(here / name)
    (here / "in/notes.txt").write_text("x")
    plan = batch.plan(["in"], "out")
    assert pairs(plan) == {"in/a.png": "out/a.png", "in/deep/er/b.jpg": "out/deep/er/b.jpg"}
    assert not plan.failures


def test_patterns_keep_the_structure_from_the_first_wildcard_on(here):
    for name in ("in/x/a.png", "in/y/a.png", "in/y/b.txt.png"):
        write(here / name)
    (here / "in/y/notes.txt").write_text("x")
    expected = {"in/x/a.png": "out/x/a.png", "in/y/a.png": "out/y/a.png"}
    assert pairs(batch.plan(["in/*/a.png"], "out")) == expected
    assert pairs(batch.plan(["in/**/a.png"], "out")) == expected
    assert pairs(batch.plan(["in/*"], "out")) == {**expected, "in/y/b.txt.png": "out/y/b.txt.png"}


def test_a_file_whose_name_looks_like_a_pattern(here):
    write(here / "a[1].png")
    write(here / "a1.png")
    assert pairs(batch.plan(["a[1].png"], "out")) == {"a[1].png": "out/a[1].png"}


def test_outputs_inside_an_input_folder_are_not_inputs(here):
    for name in ("in/a.png", "in/out/a.png", "in/out/deep/b.png"):
        write(here / name)
    for inputs in (["in"], ["in/*"], ["in/**/*.png"]):
        assert pairs(batch.plan(inputs, "in/out", overwrite=True)) == {"in/a.png": "in/out/a.png"}


def test_inputs_inside_the_output_folder_are_inputs(here):
    write(here / "out/in/a.png")
    for inputs in (["out/in"], ["out/in/*.png"]):
        assert pairs(batch.plan(inputs, "out")) == {"out/in/a.png": "out/a.png"}


def test_an_input_given_twice_is_run_once(here):
    write(here / "in/a.png")
    assert len(batch.plan(["in", "in/a.png", "./in/a.png", "in/*.png"], "out").jobs) == 1


def test_format_and_depth_views(here):
    write(here / "in/a.jpg")
    (here / "in/photo").write_bytes((here / "in/a.jpg").read_bytes())
    plan = batch.plan(["in/a.jpg", "in/photo"], "out", suffix=".webp", depth_views=True)
    assert [(str(job.target), str(job.depth_view)) for job in plan.jobs] == [
        ("out/a.webp", "out/a.depth.png"),
        ("out/photo.webp", "out/photo.depth.png"),
    ]
    assert pairs(batch.plan(["in/photo"], "out")) == {"in/photo": "out/photo.png"}


def test_existing_outputs_are_left_alone(here):
    write(here / "in/a.png")
    write(here / "in/b.png")
    write(here / "out/a.png")
    plan = batch.plan(["in"], "out")
    assert pairs(plan) == {"in/b.png": "out/b.png"}
    (result,) = batch.settled(plan)
    assert result.status is Status.SKIPPED
    assert "--overwrite" in result.reason
    assert len(batch.plan(["in"], "out", overwrite=True).jobs) == 2


def test_an_output_without_its_depth_map_is_skipped_and_it_says_so(here):
    write(here / "in/a.png")
    write(here / "out/a.png")
    (result,) = batch.settled(batch.plan(["in"], "out", depth_views=True))
    assert (result.status, "but not its depth map; pass --overwrite" in result.reason) == (Status.SKIPPED, True)
    write(here / "out/a.depth.png")
    (result,) = batch.settled(batch.plan(["in"], "out", depth_views=True))
    assert "depth map" not in result.reason


def test_depth_views_of_outputs_that_differ_in_suffix_only(here):
    for name in ("in/a.png", "in/a.jpg", "in/b.png", "in/deep/a.png"):
        write(here / name)
    plan = batch.plan(["in"], "out", depth_views=True)
    assert {str(job.target): str(job.depth_view) for job in plan.jobs} == {
        "out/a.jpg": "out/a.jpg.depth.png",
        "out/a.png": "out/a.png.depth.png",
        "out/b.png": "out/b.depth.png",
        "out/deep/a.png": "out/deep/a.depth.png",
    }


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["in", "in2"], "out", "in/a.png and in2/a.png would both be written to out/a.png"),
        (["in"], "in", "is an input folder too"),
        (["in"], "in2/../in", "is an input folder too"),
        (["in/a.png"], "in", "would replace the input in/a.png"),
        (["in/a.png"], "in/a.png", "would replace the input in/a.png"),
        (["in2/a.png", "in/a.png"], "in/link.png", "names one file, but"),
        (["in/a.png", "in/b.png"], "x.png", "names one file, but"),
        (["in"], "x.png", "names one file, but"),
        (["in/*.png"], "x.png", "names one file, but"),
        (["in/a.png"], "x.bmp", "files ending in .bmp are not written"),
        (["in/a.png"], "notes", "this is a file; give a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(here, inputs, out, message):
    for name in ("in/a.png", "in/b.png", "in2/a.png"):
        write(here / name)
    (here / "notes").write_text("x")
    with pytest.raises(InputError, match=message):
        batch.plan(inputs, out, overwrite=True)


def test_a_link_to_an_input_is_no_output(here):
    write(here / "a.png")
    os.symlink("a.png", here / "b.png")
    with pytest.raises(InputError, match=r"would replace the input a\.png"):
        batch.plan(["a.png"], "b.png", overwrite=True)


def test_a_depth_view_may_not_replace_an_image_and_a_name_fits_one_format(here):
    write(here / "in/a.png")
    write(here / "in/a.depth.png")
    with pytest.raises(InputError, match=r"both be written to out/a\.depth\.png"):
        batch.plan(["in"], "out", depth_views=True)
    with pytest.raises(InputError, match="leave out the format"):
        batch.plan(["in/a.png"], "x.png", suffix=".webp")


def test_inputs_without_an_image_are_failures_of_their_own(here):
    write(here / "in/a.png")
    (here / "empty").mkdir()
    plan = batch.plan(["in", "empty", "none/*.png", "missing.png"], "out")
    assert [str(path) for path, _ in plan.failures] == ["empty", "none/*.png"]
    results = batch.settled(plan)
    assert all(result.status is Status.FAILED for result in results)
    measured, failed = batch.measure(plan.jobs, 2, Options())
    assert [str(job.source) for job, _ in measured] == ["in/a.png"]
    assert [result.reason for result in failed] == ["missing.png: there is no such file; check the path"]


def test_measuring_reads_sizes_makes_folders_and_refuses_what_no_file_can_hold(here):
    write(here / "in/a.png", 5, 7)
    write(here / "in/deep/wide.png", 1, 9000)
    plan = batch.plan(["in"], "out", suffix=".webp")
    measured, failed = batch.measure(plan.jobs, 2, Options())
    assert [pixels for _, pixels in measured] == [35]
    assert "over the 16383 pixels a side that WebP can hold" in failed[0].reason
    assert (here / "out").is_dir()
    _, failed = batch.measure(plan.jobs, 2, Options(max_pixels=34))
    assert "pass --max-pixels" in failed[0].reason
    with pytest.raises(InputError, match="quality is 101"):
        batch.measure(plan.jobs, 2, Options(quality=101))


def test_an_output_folder_that_cannot_be_is_refused(here):
    write(here / "in/a.png")
    (here / "file").write_text("x")
    plan = batch.plan(["in"], "file/out")
    with pytest.raises(ImageFileError, match="no files can be written there"):
        batch.measure(plan.jobs, 2, Options())


def test_a_bad_file_stops_no_other(here, upscaler):
    write(here / "in/a.png")
    cut = write(here / "in/b.png", 200, 200)
    cut.write_bytes(cut.read_bytes()[:-5000])
    write(here / "in/c.png", alpha=100, channels=4)
    write(here / "in/d.png")
    plan = batch.plan(["in"], "out", suffix=".jpg")
    measured, failed = batch.measure(plan.jobs, 2, Options())
    assert not failed
    seen, done = [], []
    run = batch.run(upscaler, measured, Options(), progress=done.append, finished=seen.append)
    assert not run.interrupted
    assert run.results == seen
    assert [result.status.value for result in seen] == ["done", "failed", "failed", "done"]
    assert seen[1].reason.startswith("in/b.png: truncated or damaged PNG")
    assert seen[2].reason.startswith("out/c.jpg: JPEG cannot hold transparency")
    assert sorted(os.listdir("out")) == ["a.jpg", "d.jpg"]
    assert done == sorted(done)
    assert done[-1] == sum(pixels for _, pixels in measured)


def test_a_fault_with_one_image_stops_no_other(here, upscaler, monkeypatch):
    write(here / "in/a.png")
    write(here / "in/b.png")
    original, calls = images.read_image, []

    def read(path, **limits):
        calls.append(path)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory\nmore lines")
        return original(path, **limits)

    monkeypatch.setattr(images, "read_image", read)
    measured, _ = batch.measure(batch.plan(["in"], "out").jobs, 2, Options())
    first, second = batch.run(upscaler, measured, Options()).results
    assert first.reason == "in/a.png: RuntimeError: CUDA out of memory; give smaller tiles with --tile or --memory"
    assert second.status is Status.DONE


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_appears_during_the_run_is_not_replaced(here, upscaler, overwrite):
    write(here / "in/a.png")
    options = Options(overwrite=overwrite)
    measured, _ = batch.measure(batch.plan(["in"], "out").jobs, 2, options)

    def appear(pixels):
        (here / "out/a.png").write_bytes(b"mine")

    (result,) = batch.run(upscaler, measured, options, progress=appear).results
    assert result.status is (Status.DONE if overwrite else Status.FAILED)
    if not overwrite:
        assert result.reason == "out/a.png: the file exists already; pass --overwrite to replace it"
        assert (here / "out/a.png").read_bytes() == b"mine"


def test_an_interruption_keeps_what_is_done_and_leaves_no_half_file(here, upscaler):
    for name in "abc":
        write(here / f"in/{name}.png")
    measured, _ = batch.measure(batch.plan(["in"], "out", depth_views=True).jobs, 2, Options())

    def interrupt(pixels):
        if pixels > measured[0].pixels:  # within the second image
            raise KeyboardInterrupt

    run = batch.run(upscaler, measured, Options(budget=0.7), progress=interrupt)
    assert run.interrupted
    assert [result.status.value for result in run.results] == ["done", "not run", "not run"]
    assert sorted(os.listdir("out")) == ["a.depth.png", "a.png"]


def test_an_interruption_while_a_file_is_written_waits_for_the_file(here, upscaler, monkeypatch):
    write(here / "in/a.png")
    write(here / "in/b.png")
    original = images.write_image

    def written(*arguments, **options):
        original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(images, "write_image", written)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        measured, _ = batch.measure(batch.plan(["in"], "out").jobs, 2, Options())
        run = batch.run(upscaler, measured, Options())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert [result.status.value for result in run.results] == ["done", "not run"]
    assert os.listdir("out") == ["a.png"]


def test_a_second_interruption_does_not_wait():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_target_is_checked_against_the_network(upscaler):
    batch.check_target(upscaler, Options(budget=0.5))
    with pytest.raises(InputError, match=r"outside 0\.\.2"):
        batch.check_target(upscaler, Options(depth=3))


def test_the_report_tells_all_and_is_written_whole(here, upscaler):
    write(here / "in/a.png", 8, 12)
    write(here / "in/b.png")
    write(here / "out/b.png")
    plan = batch.plan(["in", "none*"], "out")
    path = here / "reports/run.json"
    batch.prepare_json(path, plan)
    measured, _ = batch.measure(plan.jobs, 2, Options())
    run = batch.run(upscaler, measured, Options(budget=0.7))
    batch.write_json(path, batch.as_json(batch.settled(plan) + run.results))
    report = json.loads(path.read_text())
    assert os.listdir(path.parent) == ["run.json"]
    assert report["counts"] == {"done": 1, "skipped": 1, "failed": 1, "not run": 0}
    failed, skipped, done = report["images"]
    assert failed.keys() == skipped.keys() == done.keys()
    assert (failed["input"], failed["output"], failed["executed_gmacs"]) == ("none*", None, None)
    assert (skipped["status"], skipped["output"]) == ("skipped", "out/b.png")
    assert (done["input_size"], done["output_size"], done["status"]) == ([12, 8], [24, 16], "done")
    assert (done["model"], done["backend"], done["device"], done["scale"]) == (
        "tiny",
        default_backend(torch.device("cpu")),
        "cpu",
        2,
    )
    assert done["executed_gmacs"] / done["dense_gmacs"] == pytest.approx(done["achieved_budget"], abs=1e-3)
    assert done["total_seconds"] > 0


def test_a_report_replaces_an_earlier_one_and_nothing_else(here):
    plan = batch.plan([], "out")
    path = here / "report.json"
    batch.write_json(path, batch.as_json([]))
    batch.prepare_json(path, plan)
    for content in (b"", b"mine", b'{"adadsr": 1}'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"report\.json: the file exists already and is no report of adadsr"):
            batch.prepare_json(path, plan)


def test_a_report_that_would_replace_an_image_is_refused(here):
    write(here / "a.png")
    plan = batch.plan(["a.png"], "b.png")
    for path, message in (("a.png", "would replace an image"), ("b.png", "would replace"), (".", "this is a folder")):
        with pytest.raises(InputError, match=message):
            batch.prepare_json(Path(path), plan)
