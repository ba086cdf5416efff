"""A prefix of a bucket as a folder of this machine, for what reads folders only."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adadsr.errors import StorageError
from adadsr.storage.local import LocalPlace
from adadsr.storage.objects import ObjectPlace
from adadsr.storage.place import File, is_url

_READERS = 16


def fetched(address: str, cache: Path) -> Path:
    """The folder of an address; what a prefix holds is fetched into one below `cache` first.

    Files that were fetched before, and have the size of the objects, are not fetched again. Processes may do this at
    once. Raises StorageError if the prefix is empty or cannot be read.
    """
    if not is_url(address):
        return Path(address)
    source = ObjectPlace(address)
    target = LocalPlace(str(cache / "fetched" / hashlib.sha256(source.address.encode()).hexdigest()[:16]))
    files = list(source.files())
    if not files:
        raise StorageError(f"{address}: no files here; check the prefix")
    present = {file.name: file.size for file in target.files()}

    def fetch(file: File) -> None:
        content = source.read(file.name, file.size)
        if content is not None:
            target.replace(file.name, content)

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(fetch, [file for file in files if present.get(file.name) != file.size]))
    return Path(target.address)
