"""`adadsr upscale` between pipes."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from adadsr import checkpoints, images
from adadsr.cli.app import app
from batch_samples import tiny_model, write
from cli_samples import COMMAND


@pytest.fixture
def here(here):
    """A working folder with a tiny model, a PNG and a folder named like a pipe."""
    checkpoints.save(tiny_model(), here / "tiny.safetensors")
    write(here / "a.png", 8, 12)
    (here / "-").mkdir()
    return here


def upscale(*arguments, content=b""):
    given = ["upscale", "--model", "tiny.safetensors", "--device", "cpu", *arguments]
    return CliRunner().invoke(app, given, input=content, prog_name="adadsr")


def kind(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.format, image.size


@pytest.mark.parametrize(("options", "format"), [([], "PNG"), (["--format", "jpeg", "--verbose"], "JPEG")])
def test_from_pipe_to_pipe(here, options, format):
    result = upscale("-", "-o", "-", *options, content=(here / "a.png").read_bytes())
    assert result.exit_code == 0, result.output
    assert kind(result.stdout_bytes) == (format, (24, 16))
    assert "<stdin> -> <stdout>" in result.stderr
    assert sorted(os.listdir(here)) == ["-", "a.png", "tiny.safetensors"]


def test_the_format_is_that_of_the_content(here):
    (here / "a.png").rename(here / "a.jpg")
    assert kind(upscale("a.jpg", "-o", "-", "--quiet").stdout_bytes) == ("PNG", (24, 16))
    write(here / "b.webp", 8, 12)
    assert kind(upscale("-", "-o", "-", content=(here / "b.webp").read_bytes()).stdout_bytes)[0] == "WEBP"
    ppm = b"P6 2 2 255\n" + bytes(12)
    assert kind(upscale("-", "-o", "-", content=ppm).stdout_bytes) == ("PNG", (4, 4))  # it is only read


def test_from_a_pipe_to_a_file(here):
    content = (here / "a.png").read_bytes()
    result = upscale("-", "-o", "b.jpg", content=content)
    assert result.stdout.startswith("<stdin> -> b.jpg: 12x8 to 24x16")
    assert images.read_size("b.jpg") == (16, 24)
    assert "skipped" in upscale("-", "-o", "b.jpg", content=content).stdout
    assert upscale("-", "-o", "-", "--dry-run", content=content).stdout.startswith("<stdin> -> <stdout>.png: 12x8 to")


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (["-", "-o", "-"], b"no image", "<stdin>: the content is not PNG"),
        (["-", "-o", "-"], b"", "<stdin>: empty file"),
        (["missing.png", "-o", "-"], b"", "missing.png: no such file"),
        (["-", "a.png", "-o", "out"], b"", "- is one image; pass it with one input file"),
        (["a.png", "a.png", "-o", "-"], b"", "- is one image"),
        (["./-", "-o", "-"], b"", "- is one image"),
        (["-", "-o", "out"], b"", "out: a name without a suffix does not say which format to write"),
        (["-", "-o", "out/"], b"", "out/: is a folder, but standard input has no name"),
        (["-", "-o", "x.bmp"], b"", ".bmp files cannot be written"),
        (["-", "-o", "x.png", "--format", "jpeg"], b"", "drop --format"),
        (["-", "-o", "-", "--depth-map"], b"", "are for files; drop them with -"),
        (["-", "--suffix", "_x2"], b"", "are for files; drop them with -"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_no_output(here, arguments, content, message):
    result = upscale(*arguments, content=content)
    assert result.exit_code != 0
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert (result.stdout, "Traceback" in result.output) == ("", False)


def test_a_reader_that_has_gone_is_a_failure_in_one_line(here):
    given = ["upscale", "a.png", "-o", "-", "-m", "tiny.safetensors", "--device", "cpu", "-q"]
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *given], stdout=write, stderr=subprocess.PIPE, text=True, env=environment
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "adadsr: a.png: <stdout>: cannot write (Broken pipe)\n")
