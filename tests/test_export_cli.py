"""`adadsr export` as a user calls it."""

import pytest

from adadsr import checkpoints
from cli_samples import call
from upscaler_samples import CONFIGS, model_of

onnx = pytest.importorskip("onnx", reason="needs the extra `export`, which .ci/run installs")


@pytest.fixture(autouse=True)
def tiny(here):
    metadata = {"licence": "CC0-1.0", "trained on": "nothing"}
    checkpoints.save(model_of(CONFIGS["adaedsr-tiles"]), here / "tiny.safetensors", metadata=metadata)
    return here


def props_of(path):
    return {each.key: each.value for each in onnx.load(path).metadata_props}


def test_a_file_says_where_it_comes_from(tiny):
    result = call("export", "tiny.safetensors", "-o", "out.onnx")
    assert result.exit_code == 0, result.output
    assert "out.onnx: " in result.output
    props = props_of("out.onnx")
    assert (props["name"], props["licence"], props["trained on"]) == ("tiny", "CC0-1.0", "nothing")
    assert onnx.load("out.onnx").opset_import[0].version == 18


def test_a_bundled_model_has_its_licence(tiny):
    assert call("export", "adaedsr-baseline-x2", "-o", "out.onnx").exit_code == 0
    assert props_of("out.onnx")["licence"] == "Apache-2.0"


def test_an_existing_file_is_kept(tiny):
    (tiny / "out.onnx").write_bytes(b"mine")
    result = call("export", "tiny.safetensors", "-o", "out.onnx")
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert (tiny / "out.onnx").read_bytes() == b"mine"
    assert call("export", "tiny.safetensors", "-o", "out.onnx", "--overwrite").exit_code == 0
    onnx.checker.check_model("out.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "out.pb"), "does not end in .onnx"),
        (("-o", "missing/out.onnx"), "does not exist"),
        (("-o", "out.onnx", "--image", "int8"), "not one of uint8, float32"),
        (("-o", "out.onnx", "--size", "8x8"), "size without dense"),
        (("-o", "out.onnx", "--dense", "--size", "8"), "not a size such as"),
        (("-o", "out.onnx", "--dense", "--int8-loss", "1"), "needs --int8"),
        (("-o", "out.onnx", "--runtime", "package"), "needs --web"),
        ((), "pass a file with --output, or a folder with --web"),
    ],
)
def test_wrong_usage(arguments, message):
    result = call("export", "tiny.safetensors", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_network_that_cannot_be_exported_is_named(tiny):
    checkpoints.save(model_of(CONFIGS["adaesrgan-tiles"]), tiny / "dense.safetensors")
    result = call("export", "dense.safetensors", "-o", "out.onnx")
    assert result.exit_code == 1
    assert "ResidualDenseBlock cannot be exported with a depth map" in result.output
    assert "--dense" in result.output
    assert not (tiny / "out.onnx").exists()
