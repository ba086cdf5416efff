"""Networks on the Hugging Face hub: the file there is one of our checkpoints. Needs the extra `hub`."""

from pathlib import Path
from typing import Any

import torch

from adadsr.checkpoints.format import load, save
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.models import Network, NetworkConfig

try:
    from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
except ImportError as missing:
    raise MissingDependencyError(
        "the Hugging Face hub needs the package huggingface_hub: pip install adadsr[hub]"
    ) from missing

FILE_NAME = "model.safetensors"


class HubNetwork(
    Network,
    PyTorchModelHubMixin,
    library_name="adadsr",
    pipeline_tag="image-to-image",
    tags=["super-resolution"],
    paper_url="https://arxiv.org/abs/2004.03915",
):
    """A network with the hub's own methods: `from_pretrained`, `save_pretrained`, `push_to_hub`.

    A repository holds `model.safetensors` in our format, whose header is what counts, and beside it the `config.json`
    and the model card that the hub expects.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self, save_directory / FILE_NAME)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> "HubNetwork":
        """model_kwargs: what the hub read from config.json; the header of the weights says the same, and is checked."""
        folder = Path(model_id)
        path = folder / FILE_NAME
        if not folder.is_dir():
            path = Path(
                hf_hub_download(
                    model_id,
                    FILE_NAME,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        return as_hub_network(load(path, device=map_location))


def as_hub_network(network: Network) -> HubNetwork:
    """The same network, its weights shared, with the hub's methods."""
    if isinstance(network, HubNetwork):
        return network
    with torch.device("meta"):
        hub_network = HubNetwork(network.config)
    hub_network.load_state_dict(network.state_dict(), assign=True)
    return hub_network.train(network.training)


def save_pretrained(network: Network, folder: str | Path) -> None:
    """Write what a hub repository holds (weights, config.json, model card) into a local folder."""
    as_hub_network(network).save_pretrained(folder)


def push_to_hub(network: Network, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Upload to `org/name`, which is created if it is not there. Returns the address of the commit.

    The hub's own errors (no permission, no connection) come through unchanged.
    """
    url: str = as_hub_network(network).push_to_hub(repo_id, private=private, token=token)
    return url


def from_pretrained(
    source: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu"
) -> HubNetwork:
    """The network in a hub repository `org/name` (at `revision`) or in a folder that `save_pretrained` wrote.

    Raises CheckpointError where it cannot be fetched or is not one of ours.
    """
    try:
        network: HubNetwork = HubNetwork.from_pretrained(source, revision=revision, map_location=str(device))
    except (OSError, ValueError, TypeError) as error:  # the hub's errors, and those of a damaged config.json
        raise CheckpointError(f"{source}: cannot be loaded from the hub or folder: {error}") from error
    return network
