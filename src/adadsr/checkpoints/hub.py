"""Networks on the Hugging Face hub, one checkpoint per repository. Needs the extra `hub`."""

from adadsr.checkpoints.format import FILE_NAME
from adadsr.errors import CheckpointError, MissingDependencyError

try:
    import huggingface_hub
except ImportError as missing:
    raise MissingDependencyError(
        "the Hugging Face hub needs the package huggingface_hub; pip install 'adadsr[hub]'"
    ) from missing


def fetch(repo_id: str) -> str:
    """The path of the file of a repository `org/name` in the local cache, downloaded if it is not there.

    Raises CheckpointError if it cannot be fetched.
    """
    try:
        if not isinstance(huggingface_hub.try_to_load_from_cache(repo_id, FILE_NAME), str):
            # A single request first: a download would retry for half a minute.
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo_id, FILE_NAME))
        path: str = huggingface_hub.hf_hub_download(repo_id, FILE_NAME)
    except Exception as error:  # errors of the transport differ between versions of huggingface_hub
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        raise CheckpointError(f"{repo_id}: cannot load from the hub: {reason}") from error
    return path
