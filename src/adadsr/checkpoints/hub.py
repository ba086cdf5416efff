"""Networks on the Hugging Face hub: the file there is one of our checkpoints. Needs the extra `hub`."""

from pathlib import Path
from typing import Any

import torch

from adadsr.checkpoints.format import load, save
from adadsr.checkpoints.sources import FILE_NAME
from adadsr.errors import CheckpointError, MissingDependencyError
from adadsr.models import Network, NetworkConfig

try:
    from huggingface_hub import (
        PyTorchModelHubMixin,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
except ImportError as missing:
    raise MissingDependencyError(
        "the Hugging Face hub needs the package huggingface_hub: pip install adadsr[hub]"
    ) from missing


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
        if not Path(source).is_dir():
            _check_reachable(str(source), revision)
        network: HubNetwork = HubNetwork.from_pretrained(source, revision=revision, map_location=str(device))
    except (OSError, ValueError, TypeError) as error:  # the hub's errors, and those of a damaged config.json
        raise CheckpointError(f"{source}: cannot be loaded from the hub or folder: {error}") from error
    return network


def _check_reachable(repo_id: str, revision: str | None) -> None:
    """Ask once for a model that is not cached: a download would ask again and again, for half a minute."""
    if isinstance(try_to_load_from_cache(repo_id, FILE_NAME, revision=revision), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repo_id, FILE_NAME, revision=revision))
    except Exception as error:  # of the transport, which differs by version of huggingface_hub
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OSError(" ".join(lines[:2]) or type(error).__name__) from error
