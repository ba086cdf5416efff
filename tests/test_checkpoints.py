"""Our own checkpoint format, and where models are looked for."""

import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from adadsr import checkpoints
from adadsr.checkpoints import sources
from adadsr.errors import CheckpointError, InputError
from adadsr.models import Network, NetworkConfig

CONFIGS = {
    "edsr": NetworkConfig("edsr", 3, n_feats=4, n_resblocks=2),
    "rcan": NetworkConfig("rcan", 2, n_feats=16, n_resblocks=2, n_groups=2),
    "adaedsr": NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True),
    "adaedsr-tiles": NetworkConfig("edsr", 4, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4),
    "adarcan": NetworkConfig("rcan", 4, n_feats=16, n_resblocks=1, n_groups=2, adaptive=True),
}
SMALL = CONFIGS["edsr"]


def contents(path):
    """Tensors and header of a file, as `save_file` takes them."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoints.save(Network(SMALL), path)
    return path


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_is_bit_for_bit(tmp_path, config):
    network = Network(config)
    path = tmp_path / "model.safetensors"
    checkpoints.save(network, path, metadata={"licence": "Apache-2.0", "name": "größer"})
    loaded = checkpoints.load(path)
    assert loaded.config == config == checkpoints.read_header(path).config
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    for (name, value), (again, other) in zip(network.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == again
        assert torch.equal(value, other)
    assert checkpoints.read_header(path).metadata == {"licence": "Apache-2.0", "name": "größer"}
    lr = torch.rand(1, 3, 5, 6) * 255
    assert torch.equal(network(lr).sr, loaded(lr).sr)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_storage_is_loaded_as_float32(tmp_path, dtype):
    network = Network(SMALL)
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    checkpoints.save(network, full)
    checkpoints.save(network, half, dtype=dtype)
    loaded = checkpoints.load(half)
    for value, other in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(value.to(dtype).float(), other)
    assert half.stat().st_size < 0.75 * full.stat().st_size


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
    with pytest.raises(CheckpointError, match="cannot be written: No space left"):
        checkpoints.save(Network(SMALL), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_what_cannot_be_saved_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    network = Network(SMALL)
    with pytest.raises(InputError, match=r"dtype=torch.int8 is not one of torch.float32"):
        checkpoints.save(network, path, dtype=torch.int8)
    with pytest.raises(InputError, match="metadata 'config'"):
        checkpoints.save(network, path, metadata={"config": "{}"})
    with pytest.raises(InputError, match="metadata 'steps': 3; values are text"):
        checkpoints.save(network, path, metadata={"steps": 3})
    with pytest.raises(CheckpointError, match="cannot be written: No such file"):
        checkpoints.save(network, tmp_path / "nowhere" / "model.safetensors")
    network.head.conv.bias.data[0] = 1e6
    with pytest.raises(CheckpointError, match=r"NaN or infinity in head\.conv\.bias"):
        checkpoints.save(network, path, dtype=torch.float16)
    assert not path.exists()


def test_damaged_files_are_refused(saved, tmp_path):
    whole = saved.read_bytes()
    cases = {
        b"": "is empty",
        b"\x00\x01": "neither safetensors nor a PyTorch file",
        b"not a checkpoint at all": "neither safetensors nor a PyTorch file",
        whole[:100]: "damaged or truncated",
        whole[:-7]: "damaged or truncated",
        whole + b"more": "damaged or truncated",
        b"\xff" * 8 + whole[8:]: "damaged or truncated",
    }
    for content, message in cases.items():
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(content)
        for read in (checkpoints.load, checkpoints.load_model, checkpoints.convert_published):
            with pytest.raises(CheckpointError, match=rf"damaged\.safetensors: .*{message}.*; "):
                read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read: No such file"):
        checkpoints.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": None}, "format None is not 'adadsr-1'; run `adadsr convert"),
        ({"format": "pt"}, "format 'pt' is not 'adadsr-1'; run `adadsr convert"),
        ({"format": "adadsr-2"}, "format 'adadsr-2' is not 'adadsr-1'; update adadsr"),
        ({"config": None}, "configuration is missing or damaged"),
        ({"config": "{"}, "configuration is missing or damaged"),
        ({"config": "[" * 100_000}, "configuration is missing or damaged"),
        ({"config": "[1]"}, "not with the keys backbone, scale"),
        ({"config": '{"backbone": "edsr", "scale": 3, "colour": 1}'}, "not with the keys backbone, scale"),
        ({"config": '{"backbone": "edsr"}'}, "is not valid: .*scale"),
        ({"config": '{"backbone": "edsr", "scale": 5}'}, "scale=5 is not one of 2, 3, 4"),
        ({"config": '{"backbone": "edsr", "scale": "3"}'}, "scale='3' is not of type"),
        ({"config": '{"backbone": "srcnn", "scale": 3, "n_feats": 4}'}, "backbone='srcnn' is not one of edsr, rcan"),
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
    tensors |= {"extra": torch.zeros(1), "tail.conv.bias": torch.zeros(4)}
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(saved)
    assert str(error.value) == (
        f"{saved}: is not a complete edsr x3 with 2 blocks and 4 features; give a file that holds exactly its tensors\n"
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
    save_file({**tensors, "tail.conv.bias": torch.zeros(3, dtype=torch.int64)}, saved, metadata=metadata)
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
    with pytest.raises(CheckpointError, match=r"other: no bundled model of that name \(there are: model\)"):
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
        f"{source}: no bundled model of that name (there are: none); no such file or folder; "
        "not a hub id, which has the form org/name; give one of the three"
    )


def test_an_empty_name_and_a_folder_without_a_model(tmp_path):
    with pytest.raises(CheckpointError, match="'': no bundled model of that name"):
        checkpoints.load_model("")
    with pytest.raises(CheckpointError, match=r"this folder holds no model\.safetensors; give"):
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
    }
