"""Our own checkpoint format, and where models are looked for."""

import json
import os
import stat

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from adadsr import checkpoints
from adadsr.checkpoints import sources
from adadsr.errors import CheckpointError, InputError
from adadsr.networks import Network, NetworkConfig
from upscaler_samples import model_of

CONFIGS = {
    "edsr": NetworkConfig("edsr", 3, n_feats=4, n_resblocks=2),
    "rcan": NetworkConfig("rcan", 2, n_feats=16, n_resblocks=2, n_groups=2),
    "adaedsr": NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True),
    "adaedsr-tiles": NetworkConfig("edsr", 4, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4),
    "adarcan": NetworkConfig("rcan", 4, n_feats=16, n_resblocks=1, n_groups=2, adaptive=True),
    "esrgan": NetworkConfig("esrgan", 4, n_feats=8, n_resblocks=1, growth=4),
    "compact": NetworkConfig("compact", 2, n_feats=8, n_resblocks=2),
}
SMALL = CONFIGS["edsr"]


def contents(path):
    """Tensors and header of a file, as `save_file` takes them."""
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoints.save(model_of(SMALL), path)
    return path


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_is_bit_for_bit(tmp_path, config):
    model, path = model_of(config), tmp_path / "model.safetensors"
    checkpoints.save(model, path, metadata={"licence": "Apache-2.0", "name": "größer"})
    loaded = checkpoints.load(path)
    assert loaded.config == config == checkpoints.read_header(path).config
    assert loaded.tensors.keys() == model.tensors.keys()
    for name, value in model.tensors.items():
        assert loaded.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.tensors[name], value)
    assert checkpoints.read_header(path).metadata == {"licence": "Apache-2.0", "name": "größer"}


def test_half_precision_storage_is_loaded_as_float32(tmp_path):
    model = model_of(SMALL)
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    checkpoints.save(model, full)
    checkpoints.save(model, half, dtype="float16")
    for name, value in checkpoints.load(half).tensors.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, model.tensors[name].astype(np.float16).astype(np.float32))
    assert half.stat().st_size < 0.75 * full.stat().st_size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_files_of_other_floating_types_are_loaded_as_float32(saved, dtype):
    """As other programs may write them."""
    tensors, metadata = contents(saved)
    converted = {name: torch.from_numpy(value).to(dtype) for name, value in tensors.items()}
    save_torch_file(converted, saved, metadata=metadata)
    for name, value in checkpoints.load(saved).tensors.items():
        np.testing.assert_array_equal(value, converted[name].float().numpy())


def test_saving_leaves_only_the_final_file_with_usual_permissions(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]
    plain = saved.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match=r"cannot write \(No space left"):
        checkpoints.save(model_of(SMALL), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_what_cannot_be_saved_is_refused(tmp_path):
    path, model = tmp_path / "model.safetensors", model_of(SMALL)
    with pytest.raises(InputError, match=r"dtype=int8 is not one of float32, float16"):
        checkpoints.save(model, path, dtype="int8")
    with pytest.raises(InputError, match="metadata 'config'"):
        checkpoints.save(model, path, metadata={"config": "{}"})
    with pytest.raises(InputError, match="metadata 'steps'=3: values must be strings"):
        checkpoints.save(model, path, metadata={"steps": 3})
    with pytest.raises(CheckpointError, match=r"cannot write \(No such file"):
        checkpoints.save(model, tmp_path / "nowhere" / "model.safetensors")
    model.tensors["head.conv.bias"][0] = 1e6
    with pytest.raises(CheckpointError, match=r"NaN or infinity in head\.conv\.bias"):
        checkpoints.save(model, path, dtype="float16")
    assert not path.exists()


def test_damaged_files_are_refused(saved, tmp_path):
    whole = saved.read_bytes()
    cases = {
        b"": "empty file",
        b"\x00\x01": "neither safetensors nor a PyTorch file",
        b"not a checkpoint at all": "neither safetensors nor a PyTorch file",
        whole[:100]: "corrupt or truncated",
        whole[:-7]: "corrupt or truncated",
        whole + b"more": "corrupt or truncated",
        b"\xff" * 8 + whole[8:]: "corrupt or truncated",
    }
    for content, message in cases.items():
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(content)
        for read in (checkpoints.load, checkpoints.load_model, checkpoints.read_published):
            with pytest.raises(CheckpointError, match=rf"damaged\.safetensors: .*{message}.*; "):
                read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot read \(No such file"):
        checkpoints.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="cannot read \\(Is a directory"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": None}, "format None is not 'adadsr-1'; run `adadsr convert"),
        ({"format": "pt"}, "format 'pt' is not 'adadsr-1'; run `adadsr convert"),
        ({"format": "adadsr-2"}, "format 'adadsr-2' is not 'adadsr-1'; update adadsr"),
        ({"config": None}, "configuration in the header is missing or corrupt"),
        ({"config": "{"}, "configuration in the header is missing or corrupt"),
        ({"config": "[" * 100_000}, "configuration in the header is missing or corrupt"),
        ({"config": "[1]"}, "does not have the keys backbone, scale"),
        ({"config": '{"backbone": "edsr", "scale": 3, "colour": 1}'}, "does not have the keys backbone, scale"),
        ({"config": '{"backbone": "edsr"}'}, "invalid configuration .*scale"),
        ({"config": '{"backbone": "edsr", "scale": 5}'}, "scale=5 is not one of 2, 3, 4"),
        ({"config": '{"backbone": "edsr", "scale": "3"}'}, "scale='3' must be of type"),
        (
            {"config": '{"backbone": "srcnn", "scale": 3, "n_feats": 4}'},
            "backbone='srcnn' is not one of edsr, rcan, esrgan, compact",
        ),
        ({"config": '{"backbone": "esrgan", "scale": 3, "adaptive": true, "growth": 4}'}, "esrgan has one depth per"),
        ({"config": '{"backbone": "esrgan", "scale": 3, "growth": 9000000000}'}, "misshapen"),
        ({"config": '{"backbone": "edsr", "scale": 3, "n_resblocks": 1000000000}'}, "tensors are too few"),
        ({"config": '{"backbone": "edsr", "scale": 3, "n_resblocks": 2, "n_feats": 9000000000}'}, "are too few"),
    ],
)
def test_bad_headers_are_refused(saved, header, message):
    tensors, metadata = contents(saved)
    changed = {key: value for key, value in {**metadata, **header}.items() if value is not None}
    save_file(tensors, saved, metadata=changed)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(saved)


def test_tensors_that_do_not_fit_are_all_named(saved):
    tensors, metadata = contents(saved)
    del tensors["body.conv.bias"], tensors["head.conv.weight"]
    tensors |= {"extra": np.zeros(1, np.float32), "tail.conv.bias": np.zeros(4, np.float32)}
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(saved)
    assert str(error.value) == (
        f"{saved}: does not match edsr x3 with 2 blocks and 4 features\n"
        "  missing (2): head.conv.weight, body.conv.bias\n"
        "  unexpected (1): extra\n"
        "  misshapen (1): tail.conv.bias (4,) instead of (3,)"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(saved, value):
    tensors, metadata = contents(saved)
    tensors["tail.conv.bias"][1] = value
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"NaN or infinity in tail\.conv\.bias; use"):
        checkpoints.load(saved)


def test_integers_are_refused(saved):
    tensors, metadata = contents(saved)
    save_file({**tensors, "tail.conv.bias": np.zeros(3, np.int64)}, saved, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"not plain floating-point tensors: tail\.conv\.bias"):
        checkpoints.load(saved)


def test_a_pickle_is_sent_to_the_converter(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(Network(SMALL).state_dict(), path)
    for read in (checkpoints.load, checkpoints.load_model):
        with pytest.raises(CheckpointError, match=r"run `adadsr convert .*model\.pth OUT`"):
            read(path)


def test_bundled_models_are_found_by_name(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    (found,) = checkpoints.bundled_models()
    assert found == ("model", saved, SMALL, saved.stat().st_size, {})
    assert checkpoints.load_model("model").config == SMALL
    with pytest.raises(CheckpointError, match=r"other: not a bundled model \(available: model\)"):
        checkpoints.load_model("other")


def test_every_bundled_model_loads():
    for model in checkpoints.bundled_models():
        assert model.bytes <= 6_000_000
        assert checkpoints.load(model.path).config == model.config == checkpoints.read_header(model.path).config


def test_a_model_is_loaded_from_a_file_or_folder(saved):
    for source in (saved, str(saved), saved.parent):
        assert checkpoints.load_model(source).config == SMALL


@pytest.mark.parametrize("source", ["nothing", "folder/nothing.safetensors", "a/b/c", "org/model.pth"])
def test_an_unknown_model_names_what_was_tried(source, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load_model(source)
    assert str(error.value) == (
        f"{source}: not a bundled model (available: none) and not a file or folder; "
        "pass one of these or a Hugging Face id (org/name)"
    )


def test_an_empty_name_and_a_folder_without_a_model(tmp_path):
    with pytest.raises(CheckpointError, match="'': not a bundled model"):
        checkpoints.load_model("")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoints.load_model(tmp_path)


def test_the_name_of_a_model(tmp_path, saved):
    assert checkpoints.model_name(saved) == saved.stem
    assert checkpoints.model_name("org/name-1.5") == "org/name-1.5"


def test_the_header_is_readable_without_adadsr(saved):
    _, metadata = contents(saved)
    assert metadata["format"] == "adadsr-1"
    assert json.loads(metadata["config"]) == {
        "backbone": "edsr",
        "scale": 3,
        "n_feats": 4,
        "n_resblocks": 2,
        "n_groups": 1,
        "adaptive": False,
        "depth_tile": 1,
        "growth": 0,
    }
