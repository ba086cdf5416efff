"""The Hugging Face hub, on local folders: nothing here touches the network."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from adadsr import Upscaler, checkpoints
from adadsr.checkpoints import hub
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.networks import NetworkConfig
from upscaler_samples import model_of

CONFIG = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4)


@pytest.fixture
def model():
    return model_of(CONFIG)


@pytest.fixture
def repository(model, tmp_path, monkeypatch):
    """What `org/name` holds: the folder takes the place of the hub. asked: what was asked of the hub."""
    folder, asked = tmp_path / "hub", []
    folder.mkdir()
    checkpoints.save(model, folder / "model.safetensors")

    def download(repo_id, filename):
        asked.append((repo_id, filename))
        return str(folder / filename)

    client = hub.huggingface_hub
    monkeypatch.setattr(client, "try_to_load_from_cache", lambda repo_id, name: None)
    monkeypatch.setattr(client, "get_hf_file_metadata", lambda url: asked.append(url))
    monkeypatch.setattr(client, "hf_hub_download", download)
    return SimpleNamespace(folder=folder, asked=asked)


def assert_same(model, other):
    assert other.config == model.config
    for name, value in model.tensors.items():
        np.testing.assert_array_equal(other.tensors[name], value)


def test_a_repository_is_downloaded(model, repository):
    assert_same(model, checkpoints.load_model("org/name"))
    address, download = repository.asked
    assert address.endswith("org/name/resolve/main/model.safetensors")
    assert download == ("org/name", "model.safetensors")


def test_a_hub_id_is_a_model_s_name(model, repository):
    assert Upscaler.from_pretrained("org/name").name == "org/name"
    described = checkpoints.described_model("org/name")
    assert (described.name, described.config) == ("org/name", model.config)


def test_a_model_in_the_cache_is_not_asked_for(model, repository, monkeypatch):
    cached = str(repository.folder / "model.safetensors")
    monkeypatch.setattr(hub.huggingface_hub, "try_to_load_from_cache", lambda repo_id, name: cached)
    monkeypatch.setattr(hub.huggingface_hub, "get_hf_file_metadata", lambda url: pytest.fail("asked for it"))
    assert_same(model, checkpoints.load_model("org/name"))


def test_what_is_not_one_of_our_checkpoints_is_refused(repository):
    (repository.folder / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: corrupt, or neither safetensors nor a PyTorch file"
    ):
        checkpoints.load_model("org/name")


def test_what_cannot_be_loaded_is_explained(repository, monkeypatch):
    def offline(url):
        raise OSError("no connection\n\nto the hub\nand more")

    monkeypatch.setattr(hub.huggingface_hub, "get_hf_file_metadata", offline)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load_model("org/name")
    for part in (
        "not a bundled model",
        "not a file or folder",
        "cannot load from the hub: no connection to the hub",
    ):
        assert part in str(error.value)
    assert "more" not in str(error.value)


WITHOUT_HUB = """
import sys
sys.modules["huggingface_hub"] = None
from adadsr import checkpoints
from adadsr.errors import MissingDependencyError
for use in (lambda: checkpoints.load_model("org/name"), lambda: __import__("adadsr.checkpoints.hub")):
    try:
        use()
    except MissingDependencyError as error:
        assert "pip install 'adadsr[hub]'" in str(error), error
    else:
        raise SystemExit("no error")
"""


def test_the_package_works_without_huggingface_hub():
    assert issubclass(MissingDependencyError, ImportError)
    run = subprocess.run([sys.executable, "-c", WITHOUT_HUB], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
