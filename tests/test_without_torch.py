"""An installation without torch: from file to file it is all that is needed, and what needs more says which extra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adadsr import checkpoints, images
from adadsr.backends import _has_driver, native
from batch_samples import tiny_model, write

pytestmark = [
    pytest.mark.skipif(native.missing() is not None, reason="the native engine was not built"),
]

EXTRAS = ("torch", "PIL", "matplotlib", "yaml", "tensorboard", "huggingface_hub", "triton", "scipy", "ray", "pyarrow")
"""What `pip install .` does not bring."""
HIDE = """
import sys
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {absent} else PathFinder.find_spec(name, path, target)

    def invalidate_caches(self):
        pass

sys.meta_path = [Finder() if finder is PathFinder else finder for finder in sys.meta_path]
"""
COMMAND = """
from adadsr.cli import main
sys.argv = ["adadsr", *{arguments}]
try:
    main()
finally:
    loaded = {{"torch", "PIL", "matplotlib"}} & set(sys.modules)
    assert not loaded, loaded
"""


@pytest.fixture
def here(here):
    """A working folder with a photo, a tiny model and a picture with alpha."""
    checkpoints.save(tiny_model(), here / "tiny.safetensors")
    write(here / "in/photo.jpg", 40, 33)
    write(here / "in/deep/drawing.png", 21, 18, channels=4)
    return here


def run_hidden(code: str, absent: tuple[str, ...] = EXTRAS) -> subprocess.CompletedProcess:
    """Run code where some packages are not installed. They are hidden, not only missing from `sys.modules`."""
    environment = {**os.environ, "ADADSR_THREADS": "2"}
    code = HIDE.format(absent=absent) + code
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def adadsr(*arguments: str, absent: tuple[str, ...] = EXTRAS) -> subprocess.CompletedProcess:
    return run_hidden(COMMAND.format(arguments=list(arguments)), absent)


def test_the_hidden_packages_cannot_be_imported():
    for name in ("torch", "PIL"):
        done = run_hidden(f"import {name}")
        assert f"No module named '{name}'" in done.stderr


@pytest.mark.parametrize("options", [(), ("--budget", "0.8", "--depth-map"), ("--depth", "1", "--tile", "16")])
def test_files_are_upscaled(here, options):
    done = adadsr("upscale", "in", "-o", "out", "-m", "tiny.safetensors", *options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert images.read_size("out/photo.jpg") == (80, 66)
    assert images.read_size("out/deep/drawing.png") == (42, 36)
    assert Path("out/photo.depth.png").exists() == ("--depth-map" in options)


def test_the_result_is_the_same_as_with_torch(here):
    from cli_samples import call

    assert adadsr("upscale", "in", "-o", "without", "-m", "tiny.safetensors", "-b", "0.8").returncode == 0
    assert call("upscale", "in", "-o", "with", "-m", "tiny.safetensors", "-b", "0.8").exit_code == 0
    for name in ("photo.jpg", "deep/drawing.png"):
        assert Path("without", name).read_bytes() == Path("with", name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--help",), "upscale"),
        (("--version",), "adadsr "),
        (("models",), "adaedsr-baseline-x2"),
        (("models", "--json"), '"kind": "adaedsr"'),
        (("backends", "--json"), "pip install 'adadsr[torch]'"),
        (("upscale", "in", "-o", "out", "-m", "tiny.safetensors", "--dry-run"), "in/photo.jpg -> out/photo.jpg: 33x40"),
    ],
)
def test_the_other_commands_run(here, arguments, said):
    done = adadsr(*arguments)
    assert done.returncode == 0, done.stderr
    assert said in " ".join(done.stdout.replace("│", " ").split())


UPSCALE = ("upscale", "in/photo.jpg", "-o", "out.png", "-m")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ((*UPSCALE, "tiny.safetensors", "--backend", "torch"), "torch"),
        ((*UPSCALE, "tiny.safetensors", "--backend", "dense"), "torch"),
        ((*UPSCALE, "tiny.safetensors", "--backend", "triton"), "torch"),
        ((*UPSCALE, "tiny.safetensors", "--device", "cuda"), "torch"),
        ((*UPSCALE, "tiny.safetensors", "--precision", "float16"), "torch"),
        ((*UPSCALE, "org/name"), "hub"),
        (("batch", "in", "out.png"), "cluster"),
        (("convert", "published.pth", "own.safetensors"), "torch"),
        (("train", "recipe.yaml", "--train", "in", "--valid", "in", "--out", "run"), "train"),
    ],
)
def test_what_needs_an_extra_says_which(here, arguments, extra):
    (here / "published.pth").write_bytes(b"PK\x03\x04")
    (here / "recipe.yaml").write_text("model: {}\n")
    done = adadsr(*arguments)
    assert done.returncode == 1, done.stdout
    assert f"pip install 'adadsr[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("out.png").exists()


def test_evaluation_says_which_extra_draws_its_figures(here):
    done = adadsr("evaluate", "in", "--model", "tiny.safetensors", "--sheet", "sheet.png")
    assert "Traceback" not in done.stderr
    assert done.returncode != 0 or "adadsr[evaluate]" not in done.stderr


PYTHON = """
import numpy as np
from adadsr import Execution, Upscaler

upscaler = Upscaler.from_pretrained("tiny.safetensors", Execution(threads=1))
prepared = upscaler.prepare(np.zeros((20, 24, 3), np.uint8))
result = prepared.run(prepared.plan(budget=0.9))
assert result.image.shape == (40, 48, 3)
result.save("zeros.png")
assert not {"torch", "PIL"} & set(sys.modules)
"""


def test_the_python_interface_needs_none_of_them(here):
    done = run_hidden(PYTHON)
    assert done.returncode == 0, done.stderr
    assert images.read_size("zeros.png") == (40, 48)


@pytest.mark.skipif(_has_driver(), reason="this machine has a GPU driver, so torch decides on the device")
def test_torch_that_is_installed_is_not_imported_for_files(here):
    done = adadsr("upscale", "in", "-o", "out", "-m", "tiny.safetensors", absent=())
    assert done.returncode == 0, done.stderr
