"""The other subcommands, and what the command says about itself."""

import json
import subprocess
import sys

import pytest
from safetensors.numpy import load_file, save_file

from adadsr import __version__, checkpoints, images
from adadsr.backends import PRECISIONS
from adadsr.checkpoints import sources
from adadsr.cli import display
from adadsr.cli.options import parse_bytes, parse_pixels
from adadsr.formats import FORMATS
from batch_samples import tiny_model, write
from cli_samples import call

METADATA = {"recipe": "one two three", "quality": '{"100": 37.7, "50": 37.6}', "summary": "for tests"}


@pytest.fixture
def here(here):
    """A working folder with a tiny model."""
    checkpoints.save(tiny_model(), here / "tiny.safetensors")
    return here


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """One bundled model, adaedsr-baseline-x2."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    checkpoints.save(tiny_model(), folder / "adaedsr-baseline-x2.safetensors", metadata=METADATA)
    monkeypatch.setattr(sources, "BUNDLED", folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        "adapt tiny.safetensors --images  --out o",
        "adapt tiny.safetensors --images p --out ",
        "adapt tiny.safetensors --images p --out o --cache ",
        "convert  o.safetensors",
        "convert tiny.safetensors ",
        "evaluate  --model tiny.safetensors",
        "evaluate d --model tiny.safetensors --out ",
        "evaluate d --model tiny.safetensors --data-root ",
        "export tiny.safetensors --output ",
        "export tiny.safetensors --web ",
        "train  --train t --valid v --out o",
        "train r --train  --valid v --out o",
        "train r --train t --valid v --out ",
        "upscale a.png --report ",
    ],
)
def test_an_empty_path_is_wrong_usage(arguments, here):
    """It would be the current folder."""
    result = call(*arguments.split(" "))
    assert (result.exit_code, "is empty; check the variable" in result.stderr) == (2, True), result.output


def test_the_scale_chooses_the_bundled_model(here, bundled):
    write(here / "a.png")
    assert call("upscale", "a.png", "-o", "b.png").exit_code == 0
    assert images.read_size("b.png") == (24, 20)
    assert " to 40x48 by x2, x2 in " in call("upscale", "a.png", "-o", "c.png", "--scale", "4").stdout
    (bundled / "adaedsr-baseline-x2.safetensors").unlink()
    result = call("upscale", "a.png", "-o", "d.png", "--scale", "4")
    assert (result.exit_code, "no bundled model of adaedsr-baseline; pass --model" in result.stderr) == (1, True)


def test_models_are_listed(here, bundled):
    result = call("models")
    assert result.exit_code == 0
    text = " ".join(result.stdout.replace("│", " ").split())
    for part in ("adaedsr-baseline-x2", "100%", "37.70", "37.60", "-", "for tests"):
        assert part in text
    (model,) = json.loads(call("models", "--json").stdout)
    assert (model["name"], model["scale"], model["kind"]) == ("adaedsr-baseline-x2", 2, "adaedsr")
    assert (model["n_resblocks"], model["n_feats"], model["depth_tile"]) == (2, 8, 4)
    assert model["metadata"] == METADATA
    assert model["bytes"] == (bundled / "adaedsr-baseline-x2.safetensors").stat().st_size


def test_a_model_tells_its_details(here, bundled):
    result = call("models", "--details", "adaedsr-baseline-x2")
    assert result.exit_code == 0
    assert result.stdout.startswith("adaedsr-baseline-x2: adaedsr x2 with 2 blocks and 8 features, 0.0 MB")
    assert "  recipe: one two three" in result.stdout.splitlines()
    (listed,) = json.loads(call("models", "--json").stdout)
    assert json.loads(call("models", "--details", "adaedsr-baseline-x2", "--json").stdout) == listed
    result = call("models", "--details", "other")
    assert result.exit_code == 1
    assert "other: not a bundled model (available: adaedsr-baseline-x2) and not a file" in result.stderr


def test_a_file_tells_its_details(here, bundled):
    """What an adapted or converted network was made of."""
    checkpoints.save(tiny_model(), here / "adapted.safetensors", metadata={"adapted_from": "x4plus", "recipe": "one"})
    result = call("models", "--details", "adapted.safetensors")
    assert result.exit_code == 0
    first, *lines = result.stdout.splitlines()
    assert first.startswith("adapted: adaedsr x2 with 2 blocks and 8 features, ")
    assert lines == ["  adapted_from: x4plus", "  recipe: one"]
    told = json.loads(call("models", "--details", "adapted.safetensors", "--json").stdout)
    assert (told["name"], told["metadata"]) == ("adapted", {"adapted_from": "x4plus", "recipe": "one"})
    (here / "folder").mkdir()
    (here / "adapted.safetensors").rename(here / "folder" / "model.safetensors")
    assert "  adapted_from: x4plus" in call("models", "--details", "folder").stdout
    (here / "broken.safetensors").write_bytes(b"nothing")
    for name, reason in (("broken.safetensors", "broken.safetensors: corrupt"), ("", "not a bundled model")):
        result = call("models", "--details", name)
        assert (result.exit_code, reason in result.stderr) == (1, True)


def test_the_table_fits_a_narrow_terminal(monkeypatch):
    """Of the models that are really bundled."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("models").stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert all(any(model.name in line for line in lines) for model in checkpoints.bundled_models())


def test_no_bundled_models_is_said(here, bundled):
    (bundled / "adaedsr-baseline-x2.safetensors").unlink()
    assert "This installation has no bundled models" in call("models").stdout
    assert json.loads(call("models", "--json").stdout) == []


def test_backends_are_listed_with_reasons(here):
    result = call("backends", "--device", "cpu")
    assert result.exit_code == 0
    assert "torch" in result.stdout
    assert "available" in result.stdout
    assert {"torch", "dense"} <= {row["name"] for row in json.loads(call("backends", "--json").stdout)}
    assert call("backends", "--device", "toaster").exit_code == 1
    assert call("backends", "--measure", "--json").exit_code == 2


@pytest.fixture
def published(here, golden_dir):
    """A checkpoint in a published naming."""
    tensors = load_file(sorted(golden_dir.glob("*.safetensors"))[0])
    names = {name: name.removeprefix("weights.") for name in tensors if name.startswith("weights.")}
    save_file({names[name]: tensors[name] for name in names}, here / "published.safetensors")
    return here / "published.safetensors"


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
    assert "already exists" in call("convert", published, "tiny.safetensors").stderr
    assert "is the input" in call("convert", "tiny.safetensors", "tiny.safetensors", "--overwrite").stderr
    before = (here / "tiny.safetensors").read_bytes()
    result = call("convert", "tiny.safetensors", "own.safetensors")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "already an adadsr checkpoint" in result.stderr
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


@pytest.mark.parametrize("command", ["upscale", "batch"])
def test_help_says_which_network_lossy_files_take(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call(command, "--help").stdout.replace("│", "").split())
    assert "-x3 or -x4; adaedsr-photo-... for lossy files such as JPEGs]" in text
    assert "Maximum predicted PSNR loss in dB against full depth, instead of a budget." in text


def test_help_lists_every_precision_and_quality(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = call("upscale", "--help").stdout
    assert "|".join(PRECISIONS) in text
    for each in FORMATS:
        assert each.is_lossless or f"{each.name} {each.default_quality}" in text


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
