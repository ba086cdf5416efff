"""Many images: bad files, faults and interruptions."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr import atomic, batch, images
from adadsr.batch import Options, Status
from adadsr.batch.interrupts import Interrupts
from adadsr.errors import InputError
from adadsr.upscaler import Chain, Execution, Size, Target, Upscaler
from adadsr.upscaler.tiled_run import TiledRun
from batch_samples import tiny_chain, tiny_model, write

TWICE = Size(scale=2)


@pytest.fixture(scope="module")
def chain():
    return tiny_chain()


def test_inputs_without_an_image_are_failures_of_their_own(here):
    write(here / "in/a.png")
    (here / "empty").mkdir()
    jobs = batch.find_jobs(["in", "empty", "none/*.png", "missing.png"], "out")
    assert [str(path) for path, _ in jobs.failures] == ["empty", "none/*.png"]
    results = batch.settled(jobs)
    assert all(result.status is Status.FAILED for result in results)
    measured, failed = batch.measure(jobs.to_run, TWICE, Options())
    assert [str(job.source) for job, _ in measured] == ["in/a.png"]
    assert [result.reason for result in failed] == ["missing.png: no such file; check the path"]


def test_measuring_reads_sizes_makes_folders_and_refuses_what_no_file_can_hold(here):
    write(here / "in/a.png", 5, 7)
    write(here / "in/deep/wide.png", 1, 9000)
    jobs = batch.find_jobs(["in"], "out", suffix=".webp")
    measured, failed = batch.measure(jobs.to_run, TWICE, Options())
    assert [pixels for _, pixels in measured] == [35]
    assert "exceeds WebP's limit of 16383 pixels per side" in failed[0].reason
    assert (here / "out").is_dir()
    _, failed = batch.measure(jobs.to_run, TWICE, Options(max_pixels=34))
    assert "pass --max-pixels" in failed[0].reason
    with pytest.raises(InputError, match="quality=101 must be"):
        batch.measure([], TWICE, Options(quality=101))


def test_a_folder_is_proven_writable_once(here, chain, monkeypatch):
    """On a network drive each proof costs as much as a small file."""
    for name in "abc":
        write(here / f"in/{name}.png")
    proven, original = [], atomic.check_folder

    def check(folder):
        proven.append(str(folder))
        original(folder)

    monkeypatch.setattr(atomic, "check_folder", check)
    measured, _ = batch.measure(batch.find_jobs(["in"], "out", depth_views=True).to_run, TWICE, Options())
    run = batch.run(chain, measured, Options())
    assert [result.status for result in run.results] == [Status.DONE] * 3
    assert proven == ["out"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_output_folder_that_cannot_be_stops_no_other(here, dry_run):
    for name in ("in/a.png", "in/sub/b.png", "in/sub/c.png", "in/last/d.png"):
        write(here / name)
    (here / "out").mkdir()
    (here / "out/sub").write_text("x")
    jobs = batch.find_jobs(["in"], "out").to_run
    measured, failed = batch.measure(jobs, TWICE, Options(), dry_run=dry_run)
    assert sorted(str(job.target) for job, _ in measured) == ["out/a.png", "out/last/d.png"]
    assert [str(result.target) for result in failed] == ["out/sub/b.png", "out/sub/c.png"]
    assert all(result.reason.startswith("out/sub: folder is not writable") for result in failed)


def test_an_input_that_cannot_be_read_stops_no_other(here):
    write(here / "in/a.png")
    os.symlink("/proc/self/mem", here / "in/b.png")
    measured, failed = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())
    assert [str(job.source) for job, _ in measured] == ["in/a.png"]
    assert failed[0].reason.startswith("in/b.png: ")


def test_a_bad_file_stops_no_other(here, chain):
    write(here / "in/a.png")
    cut = write(here / "in/b.png", 200, 200)
    cut.write_bytes(cut.read_bytes()[:-5000])
    write(here / "in/c.png", alpha=100, channels=4)
    write(here / "in/d.png")
    jobs = batch.find_jobs(["in"], "out", suffix=".jpg")
    measured, failed = batch.measure(jobs.to_run, TWICE, Options())
    assert not failed
    seen, done = [], []
    run = batch.run(chain, measured, Options(), progress=done.append, finished=seen.append)
    assert not run.interrupted
    assert run.results == seen
    assert [result.status.value for result in seen] == ["done", "failed", "failed", "done"]
    assert seen[1].reason.startswith("in/b.png: truncated or corrupt PNG")
    assert seen[2].reason.startswith("out/c.jpg: JPEG cannot hold transparency")
    assert sorted(os.listdir("out")) == ["a.jpg", "d.jpg"]
    assert done == sorted(done)
    assert done[-1] == sum(pixels for _, pixels in measured)


def test_a_fault_with_one_image_stops_no_other(here, chain, monkeypatch):
    write(here / "in/a.png")
    write(here / "in/b.png")
    original, calls = images.read_image, []

    def read(path, **limits):
        calls.append(path)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory\nmore lines")
        return original(path, **limits)

    monkeypatch.setattr(images, "read_image", read)
    measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())
    first, second = batch.run(chain, measured, Options()).results
    assert first.reason == "in/a.png: RuntimeError: CUDA out of memory; lower --memory or --tile"
    assert second.status is Status.DONE


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_appears_during_the_run_is_not_replaced(here, chain, overwrite):
    write(here / "in/a.png")
    options = Options(overwrite=overwrite)
    measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, options)

    def appear(pixels):
        (here / "out/a.png").write_bytes(b"mine")

    (result,) = batch.run(chain, measured, options, progress=appear).results
    assert result.status is (Status.DONE if overwrite else Status.FAILED)
    if not overwrite:
        assert result.reason == "out/a.png: already exists; pass --overwrite to replace it"
        assert (here / "out/a.png").read_bytes() == b"mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_depth_map_replaces_no_file_but_its_own(here, chain, name, overwrite):
    animation(here / "in/a.webp")
    write(here / "in/a.png")

    def measured(budget):
        options = Options(Target(budget=budget), overwrite=overwrite)
        jobs = batch.find_jobs([f"in/{name}"], "out", depth_views=True, overwrite=overwrite).to_run
        return *batch.measure(jobs, TWICE, options), options

    def run(budget):
        jobs, _, options = measured(budget)
        return [result.status for result in batch.run(chain, jobs, options).results]

    assert run(0.7) == [Status.DONE]
    first = (here / "out/a.depth.png").read_bytes()
    (here / "out" / name).unlink()  # as if the run had been killed between the two
    assert run(0.9) == [Status.DONE]
    assert (here / "out/a.depth.png").read_bytes() != first
    (here / "out" / name).unlink()
    write(here / "out/a.depth.png")
    jobs, failed, _ = measured(0.7)
    assert len(jobs) == overwrite
    if not overwrite:  # before the network runs
        assert failed[0].reason == "out/a.depth.png: already exists; pass --overwrite to replace it"


def test_an_interruption_keeps_what_is_done_and_leaves_no_half_file(here, chain):
    for name in "abc":
        write(here / f"in/{name}.png")
    measured, _ = batch.measure(batch.find_jobs(["in"], "out", depth_views=True).to_run, TWICE, Options())

    def interrupt(pixels):
        if pixels > measured[0].pixels:  # within the second image
            raise KeyboardInterrupt

    run = batch.run(chain, measured, Options(Target(budget=0.7)), progress=interrupt)
    assert run.interrupted
    assert [result.status.value for result in run.results] == ["done", "not run", "not run"]
    assert sorted(os.listdir("out")) == ["a.depth.png", "a.png"]


def test_an_interruption_while_a_file_is_written_waits_for_the_file(here, chain, monkeypatch):
    write(here / "in/a.png")
    write(here / "in/b.png")
    original = images.write_image

    def written(*arguments, **options):
        original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(images, "write_image", written)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())
        run = batch.run(chain, measured, Options())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert [result.status.value for result in run.results] == ["done", "not run"]
    assert os.listdir("out") == ["a.png"]


def test_an_image_is_read_and_one_is_written_while_another_runs(here, chain, monkeypatch):
    """Each step of an image waits for one of its neighbours that only overlapping steps can set."""
    for name in "abcd":
        write(here / f"in/{name}.png")
    started = {("read", index): threading.Event() for index in range(4)}
    written = {index: threading.Event() for index in range(4)}
    read, save, index_of = images.read_image, images.write_image, lambda path: "abcd".index(Path(path).stem)

    def reading(path, **limits):
        started["read", index_of(path)].set()
        return read(path, **limits)

    def saving(path, *arguments, **options):
        if index_of(path) < 2:  # its successor's successor is read while this one is written
            assert started["read", index_of(path) + 2].wait(20)
        save(path, *arguments, **options)
        written[index_of(path)].set()

    monkeypatch.setattr(images, "read_image", reading)
    monkeypatch.setattr(images, "write_image", saving)
    measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())
    run = batch.run(chain, measured, Options())
    assert [result.status for result in run.results] == [Status.DONE] * 4
    assert all(event.is_set() for event in written.values())


def test_nothing_overlaps_where_memory_is_for_one_image(here, monkeypatch):
    for name in "abc":
        write(here / f"in/{name}.png", 40, 40)
    needed = tiny_chain().prepare(images.read_image("in/a.png")).bytes
    chain = Chain.of(Upscaler(tiny_model(), Execution(memory=needed)))
    busy, beside_a_run, seen, run_tiles = [0], [], [], TiledRun.run

    def counted(function):
        def call(*arguments, **options):
            busy[0] += 1
            time.sleep(0.02)
            try:
                return function(*arguments, **options)
            finally:
                busy[0] -= 1

        return call

    def alone(*arguments):
        beside_a_run.append(busy[0])
        time.sleep(0.02)
        beside_a_run.append(busy[0])
        return run_tiles(*arguments)

    monkeypatch.setattr(images, "read_image", counted(images.read_image))
    monkeypatch.setattr(images, "write_image", counted(images.write_image))
    monkeypatch.setattr(TiledRun, "run", alone)
    measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())
    run = batch.run(chain, measured, Options(), finished=seen.append)
    assert run.results == seen
    assert [result.status for result in seen] == [Status.DONE] * 3
    assert beside_a_run == [0] * 6


@given(st.lists(st.sampled_from(["good", "unreadable", "too transparent", "unwritable"]), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_results_come_in_the_order_of_the_images_whatever_fails(kinds):
    with tempfile.TemporaryDirectory() as folder:
        base, seen = Path(folder), []
        for index, kind in enumerate(kinds):
            alpha = {"channels": 4, "alpha": 100} if kind == "too transparent" else {}
            path = write(base / f"in/{index}.png", **alpha)
            if kind == "unreadable":
                path.write_bytes(path.read_bytes()[:-30])
        measured, failed = batch.measure(
            batch.find_jobs([f"{base}/in"], f"{base}/out", suffix=".jpg").to_run, TWICE, Options()
        )
        assert not failed
        for index, kind in enumerate(kinds):
            if kind == "unwritable":
                (base / f"out/{index}.jpg").mkdir()
        run = batch.run(tiny_chain(), measured, Options(), finished=seen.append)
        assert run.results == seen
        assert [result.source.name for result in seen] == [f"{index}.png" for index in range(len(kinds))]
        assert [result.status is Status.DONE for result in seen] == [kind == "good" for kind in kinds]


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


def test_the_target_is_checked_against_the_network(chain):
    batch.check_target(chain, Options(Target(budget=0.5)))
    with pytest.raises(InputError, match=r"outside 0\.\.2"):
        batch.check_target(chain, Options(Target(depth=3)))
    dense = Chain.of(Upscaler.from_pretrained("edsr-baseline-x2"))
    with pytest.raises(InputError, match=r"^budget=0.5: edsr-baseline-x2 has no adapter, .*; drop budget, or choose"):
        batch.check_target(dense, Options(Target(budget=0.5)))


def animation(path):
    """Four frames of which the third is equal to the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    frames = [images.picture_from_array(rng.integers(0, 256, (12, 10, 3), np.uint8)) for _ in range(4)]
    frames[2] = frames[1]
    images.write_frames(path, frames, images.Facts(12, 10, (100, 50, 70, 30), 0), quality=100)


def test_animations_run_frame_by_frame_between_stills(here, chain):
    write(here / "in/a.png")
    animation(here / "in/b.webp")
    write(here / "in/c.png")
    jobs = batch.find_jobs(["in"], "out", depth_views=True).to_run
    measured, failed = batch.measure(jobs, TWICE, Options())
    assert not failed
    assert [pixels for _, pixels in measured] == [120, 480, 120]
    (planned,) = (each for each in batch.dry_run(chain, measured, Options()) if each.frames > 1)
    assert planned.frames == 4
    seen = []
    run = batch.run(chain, measured, Options(Target(budget=0.7), quality=100), progress=seen.append)
    assert [result.status for result in run.results] == [Status.DONE] * 3
    assert seen == sorted(seen)
    report = run.results[1].report
    assert (report.frames, report.output_size) == (3, (20, 24))
    assert sorted(os.listdir("out")) == ["a.depth.png", "a.png", "b.depth.png", "b.webp", "c.depth.png", "c.png"]
    with images.open_frames("out/b.webp") as frames:
        pictures = [picture.pixels for picture in frames]
        assert (frames.facts.delays, frames.facts.plays) == ((100, 50, 70, 30), 0)
    np.testing.assert_array_equal(pictures[1], pictures[2])
    with images.open_frames("in/b.webp") as frames:
        alone = [chain(frame, budget=0.7).image for frame in frames]
    for got, expected in zip(pictures, alone, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("suffix", "reason"), [(".jpg", "has 4 frames; write an animation as PNG, WebP or GIF"), (".png", None)]
)
def test_what_holds_no_frames_is_refused(here, chain, suffix, reason):
    animation(here / "in/a.webp")
    jobs = batch.find_jobs(["in"], "out", suffix=suffix).to_run
    measured, failed = batch.measure(jobs, TWICE, Options())
    assert bool(failed) == (reason is not None)
    if reason is not None:
        assert reason in failed[0].reason
    measured, failed = batch.measure(jobs, TWICE, Options(page=2))
    assert not failed
    (result,) = batch.run(chain, measured, Options(page=2)).results
    assert (result.status, result.report.frames) == (Status.DONE, 1)


def test_an_interrupted_animation_leaves_no_file(here, chain):
    animation(here / "in/a.webp")
    measured, _ = batch.measure(batch.find_jobs(["in"], "out").to_run, TWICE, Options())

    def interrupt(pixels):
        if pixels > 200:
            raise KeyboardInterrupt

    run = batch.run(chain, measured, Options(), progress=interrupt)
    assert run.interrupted
    assert os.listdir("out") == []
