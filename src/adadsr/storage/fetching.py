"""A prefix of a bucket as a folder of this machine, for what reads folders only."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adadsr import atomic
from adadsr.errors import StorageError
from adadsr.storage.local import LocalPlace
from adadsr.storage.objects import ObjectPlace
from adadsr.storage.place import File, is_url

_READERS = 16


def fetched(address: str, cache: Path) -> Path:
    """The folder of an address; what a prefix holds is fetched into one below `cache` first.

    What was fetched before is fetched again only if the object has changed since, and removed if the prefix no longer
    has it. Processes may do this at once. Raises StorageError if the prefix is empty or cannot be read.
    """
    if not is_url(address):
        return Path(address)
    source = ObjectPlace(address)
    folders, key = LocalPlace(str(cache / "fetched")), hashlib.sha256(source.address.encode()).hexdigest()[:16]
    target, record = LocalPlace(folders.join(key)), f"{key}.json"
    files = list(source.files())
    if not files:
        raise StorageError(f"{address}: no files here; check the prefix")
    before, present = _recorded(folders.read(record)), {file.name: file.size for file in target.files()}
    tags = {file.name: before[file.name] for file in files if file.name in before}

    def fetch(file: File) -> None:
        if present.get(file.name) != file.size or before.get(file.name) != file.tag:
            content = source.read(file.name, file.size)
            if content is None:  # removed since it was listed
                return
            tags.pop(file.name, None)
            target.replace(file.name, content)
        tags[file.name] = file.tag

    try:
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fetch, files))
    finally:  # also of an interrupted run
        folders.replace(record, json.dumps(tags).encode())
    for name in present.keys() - {file.name for file in files}:
        if not Path(name).name.startswith(atomic.HIDDEN):  # another process writes it
            target.remove(name)
    return Path(target.address)


def _recorded(content: bytes | None) -> dict[str, str]:
    """Tags of the objects that were fetched."""
    try:
        tags = json.loads(content or b"{}")
    except ValueError:
        return {}
    return tags if isinstance(tags, dict) else {}
