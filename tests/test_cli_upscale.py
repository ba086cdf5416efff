"""`adadsr upscale` as a user runs it."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from adadsr import backends, batch, checkpoints, images
from adadsr.cli import display
from adadsr.errors import ImageFileError
from adadsr.upscaler import Prepared
from adadsr.upscaler.tiled_run import TiledRun
from batch_samples import tiny_model, write
from cli_samples import COMMAND, call, start, upscale


@pytest.fixture
def here(here):
    """A working folder with a tiny model."""
    checkpoints.save(tiny_model(), here / "tiny.safetensors")
    return here


def test_one_file(here):
    write(here / "a.png", 8, 12)
    result = upscale("a.png", "-o", "b.png")
    assert result.exit_code == 0, result.output
    assert images.read_size("b.png") == (16, 24)
    assert result.stdout.startswith("a.png -> b.png: 12x8 to 24x16 in ")
    assert "100.0% of the full network's cost" in result.stdout
    assert not result.stderr


def test_everything_at_once(here):
    for name in ("in/a.png", "in/deep/b.png", "in/deep/done.png"):
        write(here / name, 24, 24)
    write(here / "out/deep/done.webp")
    (here / "in/bad.png").write_bytes(b"no image")
    result = upscale(
        *("in", "-o", "out", "-b", "0.75", "-s", "2", "--tile", "16", "--memory", "2G", "--format", "webp"),
        *("--quality", "80", "--max-pixels", "1M", "--depth-map", "--report", "out/report.json", "--backend", "torch"),
    )
    assert result.exit_code == 1
    assert result.stdout.startswith("2 of 4 images upscaled in ")
    assert "1 skipped" in result.stdout
    assert "1 failed" in result.stdout
    assert result.stderr.startswith("adadsr: in/bad.png: the content is not PNG")
    assert result.stderr.count("\n") == 1
    found = {str(path.relative_to(here / "out")) for path in (here / "out").rglob("*") if path.is_file()}
    assert found == {"a.webp", "a.depth.png", "deep/b.webp", "deep/b.depth.png", "deep/done.webp", "report.json"}
    report = json.loads((here / "out/report.json").read_text())
    assert report["counts"] == {"done": 2, "skipped": 1, "failed": 1, "not run": 0}
    done = [image for image in report["images"] if image["status"] == "done"]
    assert all(abs(image["achieved_budget"] - 0.75) <= 0.02 for image in done)
    assert [image["tiles"] for image in done] == [4, 4]


def test_existing_outputs_are_skipped_and_it_says_so(here):
    write(here / "a.png")
    (here / "b.png").write_bytes(b"mine")
    result = upscale("a.png", "-o", "b.png")
    assert (result.exit_code, (here / "b.png").read_bytes()) == (0, b"mine")
    assert result.stdout == "b.png: skipped: output already exists; pass --overwrite to replace it\n"
    assert upscale("a.png", "-o", "b.png", "--overwrite").exit_code == 0
    assert images.read_size("b.png") == (24, 20)


def test_skipped_outputs_without_a_depth_map_are_counted(here):
    for name in "ab":
        write(here / f"in/{name}.png")
    assert upscale("in", "-o", "out").exit_code == 0
    write(here / "out/a.depth.png")
    result = upscale("in", "-o", "out", "--depth-map")
    assert "2 skipped, their outputs exist, 1 of them without a depth map (--overwrite" in result.stdout


def test_quiet_says_nothing_and_verbose_names_each(here):
    for name in "ab":
        write(here / f"in/{name}.png")
    assert upscale("in", "-o", "x", "--quiet").output == ""
    result = upscale("in", "-o", "y", "--verbose")
    assert "in/a.png -> y/a.png" in result.stderr
    assert "in/b.png -> y/b.png" in result.stderr
    assert upscale("in", "-o", "y", "-v", "-q").exit_code == 2


def test_a_depth_map_at_full_depth_comes_with_a_note(here):
    write(here / "a.png")
    result = upscale("a.png", "-o", "b.png", "--depth-map")
    assert "use --budget to vary it" in result.stderr
    assert (here / "b.depth.png").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--depth", "3"], 1, "depth=3 is outside 0..2"),
        (["--backend", "none"], 1, "backend 'none' is not one of"),
        (["--device", "none"], 1, "device 'none' is not available"),
        (["--memory", "64K"], 1, "of memory here, the limit is 0.0625 MiB; raise it (--memory"),
        (["--max-pixels", "50"], 1, "pass --max-pixels to allow it"),
        (["--report", "in/a.png"], 1, "would overwrite an image"),
        (["--report", "tiny.safetensors", "--overwrite"], 1, "exists and is not an adadsr report"),
        (["--scale", "0.5"], 2, "scale=0.5 is outside 1..64"),
        (["--scale", "65"], 2, "scale=65 is outside 1..64"),
        (["--scale", "nan"], 2, "scale=nan is outside 1..64"),
        (["--width", "0"], 2, "width=0 must be a finite number above 0"),
        (["--megapixels", "inf"], 2, "megapixels=inf must be a finite number above 0"),
        (["--scale", "2", "--width", "9"], 2, "scale=2, width=9: pass one size, or a width with a height"),
        (["--width", "9"], 1, "in/a.png: width=9 for an image of 10x12: it is larger already, and adadsr only"),
        (["--width", "900"], 1, "width=900 for an image of 10x12: more than 64 times as large; choose a smaller size"),
        (["--budget", "1.5"], 2, "budget=1.5 is outside (0, 1]"),
        (["--budget", "nan"], 2, "budget=nan is outside (0, 1]"),
        (["--depth=-1"], 2, "depth=-1 must be a finite number of residual blocks, at least 0"),
        (["--budget", "0.5", "--depth", "1"], 2, "pass only one of"),
        (["--dry-run", "--report", "run.json"], 2, "drop --report"),
        (["--dry-run", "--verbose"], 2, "drop --report, --verbose and --quiet"),
        (["--dry-run", "--quiet"], 2, "drop --report, --verbose and --quiet"),
        (["--memory", "lots"], 2, "'lots' is not a size of memory"),
        (["--max-pixels", "0"], 2, "'0' is not a count of pixels"),
        (["--tile", "0"], 2, "tile=0 must be at least 1 LR pixel"),
        (["--precision", "int8"], 2, "precision='int8' is not one of float32, float16, bfloat16"),
        (["--quality", "101"], 2, "Invalid value for '--quality'"),
        (["--format", "bmp"], 2, "bmp"),
    ],
)
def test_wrong_options_end_before_any_output(here, arguments, status, message):
    write(here / "in/a.png")
    result = upscale("in", "-o", "out", *arguments)
    assert result.exit_code == status
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert not list((here).glob("out/*"))


@pytest.mark.parametrize(
    "arguments",
    [("upscale", "", "-o", "out"), ("upscale", "a.png", "", "-o", "out"), ("upscale", "a.png", "-o", "")],
)
def test_an_empty_path_is_not_the_current_folder(here, arguments):
    write(here / "a.png")
    before = sorted(os.listdir())
    result = call(*arguments)
    assert (result.exit_code, "is empty; check the variable" in result.stderr) == (2, True)
    assert sorted(os.listdir()) == before


def test_small_predicted_losses_are_not_spelled_out():
    shown = [display._loss(loss) for loss in (None, 0.0, 1.9e-5, 0.0099, 0.01, 0.123)]
    said = ["below 0.01", "below 0.01", "of 0.01", "of 0.12"]
    assert shown == ["", "", *(f" at a predicted loss {each} dB" for each in said)]


def test_a_dry_run_prints_the_plan_of_each_input_and_writes_nothing(here):
    write(here / "in/a.png", 24, 20)
    write(here / "in/b.png", 30, 24)
    (here / "in/bad.png").write_bytes(b"no image")
    result = upscale("in", "-o", "out", "--budget", "0.75", "--dry-run")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("in/a.png -> out/a.png: 20x24 to 40x48, mean depth ")
    assert re.search(r"% of the full network's cost at a predicted loss (of [\d.]+|below 0\.01) dB, ", first)
    assert " GMAC in 1 tile, " in first
    assert second.startswith("in/b.png -> out/b.png: ")
    assert result.stderr.startswith("adadsr: in/bad.png: the content is not PNG")
    assert sorted(os.listdir(here)) == ["in", "tiny.safetensors"]


def test_a_dry_run_promises_what_a_run_does(here):
    write(here / "a.png", 40, 40)
    planned = upscale("a.png", "-o", "b.png", "--budget", "0.8", "--tile", "16", "--dry-run").stdout
    assert upscale("a.png", "-o", "b.png", "--budget", "0.8", "--tile", "16", "--report", "run.json").exit_code == 0
    (image,) = json.loads((here / "run.json").read_text())["images"]
    assert f"mean depth {image['mean_depth']:.1f}, {image['achieved_budget']:.1%} of" in planned
    assert f"{image['executed_gmacs']:.1f} GMAC in {image['tiles']} tiles" in planned


def test_a_dry_run_names_what_would_be_skipped(here):
    write(here / "a.png")
    write(here / "b.png")
    assert upscale("a.png", "-o", "b.png", "--dry-run").stdout == upscale("a.png", "-o", "b.png").stdout


@pytest.mark.parametrize("output", ["file/out", "out.jpg", "wide.webp", "taken/", "dangling/out"])
def test_what_fails_in_a_run_fails_in_a_dry_run(here, output):
    write(here / "a.png", *((1, 9000) if output == "wide.webp" else (8, 8)), channels=4, alpha=100)
    (here / "file").write_text("x")
    (here / "taken/a.depth.png").mkdir(parents=True)
    (here / "dangling").symlink_to("nowhere/")
    before = sorted(here.rglob("*"))
    planned = upscale("a.png", "-o", output, "--depth-map", "--budget", "0.8", "--dry-run")
    assert before == sorted(here.rglob("*"))
    run = upscale("a.png", "-o", output, "--depth-map", "--budget", "0.8")
    assert (planned.exit_code, planned.stdout, run.exit_code) == (1, "", 1)
    begin = planned.stderr.partition("(")[0]
    assert begin.startswith("adadsr: ")
    assert run.stderr.startswith(begin)


def test_a_dry_run_asks_for_permission_to_write(here, monkeypatch):
    write(here / "a.png")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != ".")
    result = upscale("a.png", "-o", "out", "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "adadsr: out: folder is not writable (Permission denied); choose another\n"


def test_a_dry_run_at_full_depth_runs_no_network(here, monkeypatch):
    write(here / "a.png")
    monkeypatch.setattr(Prepared, "score", lambda self: pytest.fail("head and adapter ran"))
    monkeypatch.setattr(TiledRun, "family", lambda self, depth: pytest.fail("head and adapter ran"))
    assert "100.0% of the full network's cost" in upscale("a.png", "-o", "b.png", "--dry-run").stdout


def test_threads_are_those_of_the_option(here, monkeypatch):
    write(here / "a.png")
    seen = []
    original = backends.prepare
    monkeypatch.setattr(backends, "prepare", lambda *given: seen.append(given[-1]) or original(*given))
    assert upscale("a.png", "-o", "b.png", "--threads", "3").exit_code == 0
    assert seen == [3]
    result = upscale("a.png", "-o", "c.png", "--threads", "0")
    assert (result.exit_code, "threads=0 must be at least 1" in " ".join(result.stderr.split())) == (2, True)


def test_a_report_that_cannot_be_written_hides_no_failure(here, monkeypatch):
    write(here / "in/a.png")
    (here / "in/bad.png").write_bytes(b"no image")

    def fail(path, content):
        raise ImageFileError(f"{path}: cannot write the report")

    monkeypatch.setattr(batch, "write_json", fail)
    result = upscale("in", "-o", "out", "--report", "run.json")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 2 images upscaled")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("adadsr: in/bad.png: the content is not PNG")
    assert lines[1:] == ["adadsr: run.json: cannot write the report"]


def test_bad_input_leaves_the_output_that_was_there(here):
    (here / "a.png").write_bytes(b"no image")
    cut = write(here / "in/b.png", 200, 200)
    cut.write_bytes(cut.read_bytes()[:-5000])  # its header is whole, so that the run begins
    for name in ("out.png", "out/b.png"):
        write(here / name)
    before = [(here / name).read_bytes() for name in ("out.png", "out/b.png")]
    assert upscale("a.png", "-o", "out.png", "--overwrite").exit_code == 1
    assert upscale("in", "-o", "out", "--overwrite").exit_code == 1
    assert [(here / name).read_bytes() for name in ("out.png", "out/b.png")] == before
    assert os.listdir(here / "out") == ["b.png"]


def test_a_missing_file_and_a_missing_model_are_errors_in_one_line(here):
    write(here / "a.png")
    result = upscale("missing.png", "-o", "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "adadsr: missing.png: no such file; check the path\n"
    result = call("upscale", "a.png", "-o", "out", "-m", "missing.safetensors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("adadsr: missing.safetensors: not a bundled model")
    assert result.stderr.count("\n") == 1


def test_without_a_terminal_there_is_only_the_summary(here):
    write(here / "in/a.png")
    write(here / "in/b.png")
    process = start("upscale", "in", "-o", "out", "-m", "tiny.safetensors", "--device", "cpu")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("2 of 2 images upscaled in ")
    assert output.count("\n") == 1


def test_a_terminal_gets_a_progress_bar(here):
    pty = pytest.importorskip("pty")
    write(here / "in/a.png")
    write(here / "in/b.png")
    ours, theirs = pty.openpty()
    arguments = ["upscale", "in", "-o", "out", "-m", "tiny.safetensors", "--device", "cpu", "-v"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # a terminal that its last writer has closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.startswith("2 of 2 images upscaled in ")
    for part in ("0/2 images", "2/2 images", "100%", "0.0 s left", "in/a.png -> out/a.png"):
        assert part in shown.decode()


def test_an_interruption_ends_cleanly(here):
    for index in range(60):
        write(here / f"in/{index:02}.png", 300, 300)
    process = start("upscale", "in", "-o", "out", "-m", "tiny.safetensors", "--device", "cpu", "--report", "run.json")
    deadline = time.monotonic() + 60
    while not (here / "out/01.png").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.startswith("adadsr: interrupted; ")
    assert errors.count("\n") == 1
    report = json.loads((here / "run.json").read_text())
    done = {os.path.basename(image["output"]) for image in report["images"] if image["status"] == "done"}
    assert report["interrupted"]
    assert report["counts"]["done"] + report["counts"]["not run"] == 60
    assert 2 <= len(done) < 60
    assert done <= set(os.listdir("out"))
    for name in os.listdir("out"):  # whole images and nothing else
        assert images.read_image(f"out/{name}").height == 600


def test_damaged_images_are_refused_or_taken_with_a_mark(here):
    write(here / "a.jpg", 48, 64)
    (here / "a.jpg").write_bytes((here / "a.jpg").read_bytes()[:-2])  # all pixels, but no end mark
    result = upscale("a.jpg", "-o", "out")
    assert result.exit_code == 1
    assert "a.jpg: truncated or corrupt JPEG" in result.stderr
    assert "pass --accept-damaged" in result.stderr
    result = upscale("a.jpg", "-o", "out", "--accept-damaged", "--report", "report.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("adadsr: a.jpg: damaged (VipsJpeg: premature end of JPEG image); only what could")
    (image,) = json.loads((here / "report.json").read_text())["images"]
    assert (image["status"], image["damage"]) == ("done", "VipsJpeg: premature end of JPEG image")


def test_what_an_output_cannot_hold_and_a_wrong_name_are_warned_of(here):
    write(here / "a.png", 8, 12)
    (here / "a.png").rename(here / "a.jpg")
    picture = dataclasses.replace(images.read_image("a.jpg"), dpi=(300.0, 300.0))
    (here / "a.jpg").write_bytes(images.encode(picture, "png"))
    result = upscale("a.jpg", "-o", "out", "--format", "webp", "--report", "report.json")
    assert result.exit_code == 0, result.output
    expected = ["the content is PNG, not JPEG as its name says", "WebP cannot hold the resolution"]
    assert result.stderr.splitlines() == [f"adadsr: a.jpg: {text}" for text in expected]
    (image,) = json.loads((here / "report.json").read_text())["images"]
    assert (image["warnings"], image["damage"]) == (expected, None)
    assert not upscale("a.jpg", "-o", "quiet", "--format", "webp", "--quiet").stderr


def test_formats_that_are_only_read_become_png(here):
    (here / "in").mkdir()
    (here / "in/a.ppm").write_bytes(b"P6 2 2 255\n" + bytes(12))
    result = upscale("in", "-o", "out")
    assert result.exit_code == 0, result.output
    assert images.read_size("out/a.png") == (4, 4)


def test_outputs_beside_the_inputs(here):
    write(here / "in/a.png", 8, 12)
    (here / "in/notes.txt").write_text("x")
    result = upscale("in", "--suffix", "_x2")
    assert result.exit_code == 0, result.output
    assert images.read_size("in/a_x2.png") == (16, 24)
    assert result.stderr == "adadsr: left out: 1 other file (.txt)\n"
    assert upscale("in", "--name", "{stem}-{scale}x{ext}", "-o", "out", "--format", "jpeg").exit_code == 0
    assert sorted(os.listdir("out")) == ["a-2x.jpeg", "a_x2-2x.jpeg"]
    assert upscale("in", "-o", "tif", "--format", "tif").exit_code == 0
    assert sorted(os.listdir("tif")) == ["a.tif", "a_x2.tif"]
    for arguments, message in (
        ([], "pass -o OUT, or --suffix or --name"),
        (["--suffix", "_x2", "--name", "{stem}{ext}"], "not both"),
        (["--name", "{stem}{ext}"], "would overwrite the input in/a.png"),
        (["-o", "out", "--background", "whitish"], "'whitish' is not a color; use #rrggbb or one of aqua, black"),
    ):
        assert message in " ".join(upscale("in/a.png", *arguments).stderr.replace("│", " ").split())


def test_a_background_and_the_time_of_the_input(here):
    write(here / "a.png", 8, 12, channels=4, alpha=0)
    os.utime("a.png", ns=(10**18, 10**18))
    assert "or flatten it (--background)" in upscale("a.png", "-o", "a.jpg").stderr
    result = upscale("a.png", "-o", "a.jpg", "--background", "#ff8000", "--keep-time")
    assert result.exit_code == 0, result.output
    assert os.stat("a.jpg").st_mtime_ns == 10**18
    assert images.read_image("a.jpg").pixels.shape == (16, 24, 3)


def test_a_budget_that_is_too_small_is_raised_within_a_folder_only(here):
    write(here / "in/a.png", 4, 4)
    write(here / "photo[1].png", 4, 4)
    for single in ("in/a.png", "photo[1].png"):
        result = upscale(single, "-o", "a.png", "--budget", "0.05")
        assert (result.exit_code, "budget=0.05 is too small" in result.stderr) == (1, True)
    assert upscale("in", "-o", "out", "--budget", "0.05", "--dry-run").exit_code == 0
    result = upscale("in", "-o", "out", "--budget", "0.05", "--report", "run.json")
    assert result.exit_code == 0, result.output
    (image,) = json.loads((here / "run.json").read_text())["images"]
    (note,) = image["warnings"]
    assert result.stderr == f"adadsr: in/a.png: {note}\n"
    assert note.startswith("budget 0.05 is too small for this image; ran at its smallest, 0.")
    assert (image["requested_budget"], image["achieved_budget"] > 0.05) == (0.05, True)


def test_any_size_and_what_ran_for_it(here):
    write(here / "in/a.png", 12, 10)
    result = upscale("in", "-s", "3", "-o", "out", "--name", "{stem}_{scale}{ext}", "--report", "run.json", "-b", "0.9")
    assert result.exit_code == 0, result.output
    assert images.read_size("out/a_3.png") == (36, 30)
    assert " to 30x36 by x2, x2, reduced from 40x48 in " in result.stdout
    (image,) = json.loads((here / "run.json").read_text())["images"]
    assert (image["networks"], image["reduced_from"], image["scale"]) == ([2, 2], [40, 48], 3)
    planned = upscale("in", "--long-side", "30", "-o", "out", "--dry-run").stdout
    assert " to 25x30 by x2, x2, reduced from 40x48, x2 with mean depth " in planned
    assert "; x2 with " in planned
    assert upscale("in", "--width", "15", "-o", "x", "--depth-map", "--format", "jpeg").exit_code == 0
    assert images.read_size("x/a.jpeg") == (18, 15)
    assert (here / "x/a.depth.png").exists()
    wrong = upscale("in", "--width", "15", "--name", "{stem}_{scale}{ext}", "-o", "y")
    assert "{scale} differs between images" in " ".join(wrong.stderr.replace("│", " ").split())


def test_bundled_models_of_all_scales_make_any_size(here):
    write(here / "a.png", 12, 10)
    result = call("upscale", "a.png", "--scale", "5", "-o", "b.png", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert " to 50x60 by x2, x3, reduced from 60x72 in " in result.stdout


def test_the_summary_counts_lossy_pictures(here):
    for name in ("a.png", "b.jpg", "c.jpg", "d.webp"):
        write(here / "in" / name, 8, 8)
    arguments = ("in", "--scale", "2", "--device", "cpu", "--report", "report.json")
    result = call("upscale", *arguments, "-o", "out")
    assert " s, 3 of them lossy (network for photos), at 100.0% of the full" in result.stdout
    assert json.loads((here / "report.json").read_text())["chosen_for"] == {"JPEG": 2, "WebP": 1}
    result = call("upscale", "in/b.jpg", "--device", "cpu", "-o", "one.png")
    assert " to 16x16 (network for photos, since this JPEG is lossy) in " in result.stdout
    result = upscale(*arguments, "-o", "other")
    assert " s, at 100.0% of the full" in result.stdout
    assert json.loads((here / "report.json").read_text())["chosen_for"] == {}


def test_the_help_fits_two_screens(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    lines = call("upscale", "--help").stdout.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 100


def test_a_page_and_all_frames(here):
    frames = [images.picture_from_array(np.full((8, 8, 3), 60 * number, np.uint8)) for number in range(3)]
    images.write_frames("in.webp", frames, images.Facts(8, 8, (100, 70, 30), 2), quality=100)
    assert " to 16x16 (3 frames) in " in upscale("in.webp", "-o", "all.png").stdout
    with images.open_frames("all.png") as found:
        assert (found.facts.delays, found.facts.plays) == ((100, 70, 30), 2)
    assert upscale("in.webp", "-o", "all.gif").exit_code == 0
    with images.open_frames("all.gif") as found:
        assert (found.facts.delays, found.facts.plays) == ((100, 70, 30), 2)
    assert upscale("all.gif", "-o", "again").exit_code == 0
    assert os.listdir("again") == ["all.png"]
    assert upscale("in.webp", "-o", "one.jpg", "--page", "2").exit_code == 0
    assert images.read_size("one.jpg") == (16, 16)
    assert "page 4 does not exist; the file has 3" in upscale("in.webp", "-o", "x.png", "--page", "4").stderr
    assert ", for the first of 3 frames" in upscale("in.webp", "-o", "y.png", "--dry-run").stdout
    assert "has 3 frames; write an animation as PNG, WebP or GIF" in upscale("in.webp", "-o", "x.jpg").stderr
