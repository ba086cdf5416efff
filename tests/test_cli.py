import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adadsr import __version__, batch, checkpoints, images
from adadsr.checkpoints import sources
from adadsr.cli import display
from adadsr.cli.app import app
from adadsr.cli.options import parse_bytes, parse_pixels
from adadsr.errors import ImageFileError
from adadsr.models import Network, NetworkConfig

TINY = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4)
# A shell that starts tests in the background makes them deaf to SIGINT; the command itself must hear it.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from adadsr.cli import main; main()"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="adadsr")


def upscale(*arguments):
    return call("upscale", "--model", "tiny.safetensors", "--device", "cpu", *arguments)


def start(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], **pipes)


def write(path, height=12, width=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    images.write_image(path, images.picture_from_array(pixels))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a tiny model, and what is needed for help texts of one width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    torch.manual_seed(0)
    checkpoints.save(Network(TINY), tmp_path / "tiny.safetensors")
    return tmp_path


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """One bundled model, adaedsr-baseline-x2."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    torch.manual_seed(0)
    checkpoints.save(Network(TINY), folder / "adaedsr-baseline-x2.safetensors", metadata={"recipe": "one two three"})
    monkeypatch.setattr(sources, "BUNDLED", folder)
    return folder


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
    # These tiles overlap a lot; in one tile it would be 0.01.
    assert all(abs(image["achieved_budget"] - 0.75) <= 0.1 for image in done)
    assert [image["tiles"] for image in done] == [4, 4]


def test_existing_outputs_are_skipped_and_it_says_so(here):
    write(here / "a.png")
    (here / "b.png").write_bytes(b"mine")
    result = upscale("a.png", "-o", "b.png")
    assert (result.exit_code, (here / "b.png").read_bytes()) == (0, b"mine")
    assert result.stdout == "b.png: skipped: the output exists already; pass --overwrite to replace it\n"
    assert upscale("a.png", "-o", "b.png", "--overwrite").exit_code == 0
    assert images.read_size("b.png") == (24, 20)


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
    assert "--budget makes it vary" in result.stderr
    assert (here / "b.depth.png").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--scale", "3"], 1, "--scale 3 was given, but the model tiny.safetensors enlarges 2 times"),
        (["--depth", "3"], 1, "depth=3 is outside 0..2"),
        (["--backend", "none"], 1, "backend 'none' is not one of"),
        (["--device", "none"], 1, "device 'none' cannot be used here"),
        (["--memory", "1M"], 1, "a memory limit of 1 MiB is too small"),
        (["--max-pixels", "50"], 1, "pass --max-pixels to allow it"),
        (["--report", "in/a.png"], 1, "would replace an image"),
        (["--report", "tiny.safetensors", "--overwrite"], 1, "the file exists already and is no report"),
        (["--scale", "5"], 2, "5 is not one of 2, 3, 4"),
        (["--budget", "1.5"], 2, "1.5 is outside (0, 1]"),
        (["--budget", "nan"], 2, "nan is outside (0, 1]"),
        (["--depth=-1"], 2, "-1 is below 0"),
        (["--budget", "0.5", "--depth", "1"], 2, "not both"),
        (["--memory", "lots"], 2, "'lots' is not a size of memory"),
        (["--max-pixels", "0"], 2, "'0' is not a count of pixels"),
        (["--tile", "0"], 2, "0 is not a side in pixels"),
        (["--quality", "101"], 2, "101 is outside 1"),
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


def test_a_report_that_cannot_be_written_hides_no_failure(here, monkeypatch):
    write(here / "in/a.png")
    (here / "in/bad.png").write_bytes(b"no image")

    def fail(path, content):
        raise ImageFileError(f"{path}: the report cannot be written")

    monkeypatch.setattr(batch, "write_json", fail)
    result = upscale("in", "-o", "out", "--report", "run.json")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 2 images upscaled")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("adadsr: in/bad.png: the content is not PNG")
    assert lines[1:] == ["adadsr: run.json: the report cannot be written"]


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
    assert result.stderr == "adadsr: missing.png: there is no such file; check the path\n"
    result = call("upscale", "a.png", "-o", "out", "-m", "missing.safetensors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("adadsr: missing.safetensors: no bundled model of that name")
    assert result.stderr.count("\n") == 1


def test_the_scale_chooses_the_bundled_model(here, bundled):
    write(here / "a.png")
    assert call("upscale", "a.png", "-o", "b.png").exit_code == 0
    assert images.read_size("b.png") == (24, 20)
    result = call("upscale", "a.png", "-o", "c.png", "--scale", "4")
    assert result.exit_code == 1
    assert "no model adaedsr-baseline-x4 is bundled (there are: adaedsr-baseline-x2)" in result.stderr


def test_models_are_listed(here, bundled):
    result = call("models")
    assert result.exit_code == 0
    text = " ".join(result.stdout.replace("│", " ").split())
    for part in ("adaedsr-baseline-x2", "4x4 pixels", "MB", "recipe one two three"):
        assert part in text
    (model,) = json.loads(call("models", "--json").stdout)
    assert (model["name"], model["scale"], model["kind"]) == ("adaedsr-baseline-x2", 2, "adaedsr")
    assert (model["n_resblocks"], model["n_feats"], model["depth_tile"]) == (2, 8, 4)
    assert model["metadata"] == {"recipe": "one two three"}
    assert model["bytes"] == (bundled / "adaedsr-baseline-x2.safetensors").stat().st_size


def test_no_bundled_models_is_said(here, bundled):
    (bundled / "adaedsr-baseline-x2.safetensors").unlink()
    assert "No models are bundled" in call("models").stdout
    assert json.loads(call("models", "--json").stdout) == []


def test_backends_are_listed_with_reasons(here):
    result = call("backends", "--device", "cpu")
    assert result.exit_code == 0
    assert "torch" in result.stdout
    assert "available" in result.stdout
    assert {"torch", "dense"} <= {row["name"] for row in json.loads(call("backends", "--json").stdout)}
    assert call("backends", "--device", "toaster").exit_code == 1


@pytest.fixture
def published(here, golden_dir):
    """A checkpoint in a published naming."""
    return sorted(golden_dir.glob("*.safetensors"))[0]


def test_convert_writes_a_model_that_runs(here, published):
    result = call("convert", published, "own.safetensors", "--half")
    assert result.exit_code == 0, result.output
    assert "own.safetensors" in result.stdout
    write(here / "a.png")
    assert call("upscale", "a.png", "-o", "b.png", "-m", "own.safetensors").exit_code == 0
    assert call("convert", published, "full.safetensors").exit_code == 0
    assert (here / "full.safetensors").stat().st_size > 1.5 * (here / "own.safetensors").stat().st_size


def test_convert_refuses(here, published):
    assert "does not end in .safetensors" in call("convert", published, "own.pt").stderr
    assert "exists already" in call("convert", published, "tiny.safetensors").stderr
    assert "is the input" in call("convert", "tiny.safetensors", "tiny.safetensors", "--overwrite").stderr
    before = (here / "tiny.safetensors").read_bytes()
    result = call("convert", "tiny.safetensors", "own.safetensors")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "adadsr's own format already" in result.stderr
    (here / "bad.pt").write_bytes(b"no checkpoint")
    assert call("convert", "bad.pt", "tiny.safetensors", "--overwrite").exit_code == 1
    assert (here / "tiny.safetensors").read_bytes() == before


def test_version_and_help(here):
    assert call("--version").stdout == f"adadsr {__version__}\n"
    for command in ("upscale", "models", "backends", "convert"):
        assert command in call("--help").stdout
        assert call(command, "--help").exit_code == 0
    text = call("upscale", "-h").stdout
    assert "adadsr upscale photo.jpg -o large.png" in text
    assert "--budget" in text


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * 2**30), ("800M", 800 * 2**20), ("1.5GiB", 3 * 2**29), ("7kb", 7168), ("99", 99)]
)
def test_sizes_of_memory(text, size):
    assert parse_bytes(text) == size


def test_counts_of_pixels():
    assert parse_pixels("400M") == 400_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7400, "2 h 03 min")],
)
def test_durations(seconds, text):
    assert display.duration(seconds) == text


def test_help_needs_neither_torch_nor_libvips():
    code = "import sys; from adadsr.cli import app; print({'torch', 'pyvips', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


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
