"""The Hugging Face hub, on local folders: nothing here touches the network."""

import json
import subprocess
import sys

import pytest
import torch

from adadsr import checkpoints
from adadsr.checkpoints import hub
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.models import Network, NetworkConfig

CONFIG = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4)


@pytest.fixture
def network():
    return Network(CONFIG).eval()


def assert_same(network, other):
    assert other.config == network.config
    assert not other.training
    for value, again in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(value, again)
    lr = torch.rand(1, 3, 6, 9) * 255
    assert torch.equal(network(lr, 1.0).sr, other(lr, 1.0).sr)


def test_a_folder_round_trips(network, tmp_path):
    hub.save_pretrained(network, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text())["n_resblocks"] == 2
    assert "library_name: adadsr" in (tmp_path / "README.md").read_text()
    for loaded in (
        hub.from_pretrained(tmp_path),
        hub.HubNetwork.from_pretrained(str(tmp_path)),
        checkpoints.load(tmp_path / "model.safetensors"),
        checkpoints.load_model(tmp_path),
    ):
        assert_same(network, loaded)


def test_a_hub_network_keeps_its_methods(network, tmp_path):
    hub.save_pretrained(network, tmp_path / "first")
    hub.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    assert_same(network, hub.from_pretrained(tmp_path / "second"))
    fresh = hub.HubNetwork(CONFIG)
    fresh.save_pretrained(tmp_path / "third")
    assert_same(fresh.eval(), checkpoints.load(tmp_path / "third" / "model.safetensors"))


def test_the_header_counts_and_config_json_may_be_missing(network, tmp_path):
    hub.save_pretrained(network, tmp_path)
    (tmp_path / "config.json").unlink()
    assert_same(network, hub.from_pretrained(tmp_path))


def test_a_repository_is_downloaded(network, tmp_path, monkeypatch):
    """load_model falls through to the hub for org/name; the download is replaced by the folder's files."""
    hub.save_pretrained(network, tmp_path)
    asked = []

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options["revision"]))
        return str(tmp_path / filename)

    monkeypatch.setattr(hub, "get_hf_file_metadata", asked.append)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    assert_same(network, hub.from_pretrained("org/name", revision="v1"))
    assert asked[-1] == ("org/name", "model.safetensors", "v1")
    assert_same(network, checkpoints.load_model("org/name"))


def test_push_uploads_the_same_files(network, monkeypatch):
    uploaded = {}

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, private, exist_ok):
            uploaded["private"] = private
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, **options):
            uploaded["network"] = checkpoints.load(folder_path / "model.safetensors")
            return f"https://example.org/{repo_id}/commit/1"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert hub.push_to_hub(network, "org/name", private=True) == "https://example.org/org/name/commit/1"
    assert uploaded["private"] is True
    assert_same(network, uploaded["network"])


def test_what_cannot_be_loaded_is_explained(network, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read: No such file"):
        hub.from_pretrained(tmp_path)
    hub.save_pretrained(network, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be loaded from the hub or folder"):
        hub.from_pretrained(tmp_path)

    def offline(*arguments, **options):
        raise OSError("no connection")

    monkeypatch.setattr(hub, "get_hf_file_metadata", offline)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load_model("org/name")
    for part in ("no bundled model of that name", "no such file or folder", "from the hub or folder: no connection"):
        assert part in str(error.value)


def test_a_cached_model_is_not_asked_for(network, tmp_path, monkeypatch):
    hub.save_pretrained(network, tmp_path)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repo_id, name, revision: str(tmp_path / name))
    monkeypatch.setattr(hub, "hf_hub_download", lambda repo_id, filename, **options: str(tmp_path / filename))
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", hub.hf_hub_download)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda url: pytest.fail("asked for it"))
    assert_same(network, hub.from_pretrained("org/name"))


WITHOUT_HUB = """
import sys
sys.modules["huggingface_hub"] = None
from adadsr import checkpoints
from adadsr.errors import MissingDependencyError
for use in (lambda: checkpoints.load_model("org/name"), lambda: __import__("adadsr.checkpoints.hub")):
    try:
        use()
    except MissingDependencyError as error:
        assert "pip install adadsr[hub]" in str(error), error
    else:
        raise SystemExit("no error")
"""


def test_the_package_works_without_huggingface_hub():
    assert issubclass(MissingDependencyError, ImportError)
    subprocess.run([sys.executable, "-c", WITHOUT_HUB], check=True)
