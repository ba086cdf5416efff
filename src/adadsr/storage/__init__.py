"""Files by address: in folders of this machine, and in object stores through fsspec.

place    what both offer
local    a folder
fetching a prefix as a folder
objects  a prefix of a bucket: `s3://`, `gs://`, `az://`; the library of each is imported on first use
"""

from adadsr.storage.fetching import fetched
from adadsr.storage.local import LocalPlace
from adadsr.storage.objects import ObjectPlace
from adadsr.storage.place import File, Place, is_url

__all__ = ["File", "LocalPlace", "ObjectPlace", "Place", "fetched", "is_url", "open_place"]


def open_place(address: str) -> Place:
    """A folder or a prefix by its address; it may not exist yet.

    Raises MissingDependencyError if the library of its scheme is not installed, InputError for an unknown scheme.
    """
    return ObjectPlace(address) if is_url(address) else LocalPlace(address)
