"""Outputs against the manifest."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from adadsr.cluster.ledger import Ledger, done_only
from adadsr.errors import InputError, StorageError
from adadsr.storage import Place, open_place

_READERS = 16


class Verified(NamedTuple):
    """checked: number of outputs. wrong: a sentence about each that is missing, unreadable or different."""

    checked: int
    wrong: list[str]


def verify(destination: str) -> Verified:
    """Compare every output with its row of the manifest. Raises InputError if there is no manifest."""
    rows = done_only(Ledger(destination).rows())
    if not rows.num_rows:
        raise InputError(f"{destination}: has no manifest of finished outputs; run adadsr batch first")
    place = open_place(destination)
    facts = zip(*(rows[name].to_pylist() for name in ("name", "output_bytes", "output_sha256")), strict=True)
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda fact: _check(place, *fact), facts))
    return Verified(len(found), [each for each in found if each is not None])


def _check(place: Place, name: str, size: int, digest: str) -> str | None:
    try:
        content = place.read(name)
    except StorageError as error:
        return str(error)
    if content is None:
        return f"{place.join(name)}: is missing; run the same command again to make it"
    if len(content) != size:
        return f"{place.join(name)}: has {len(content)} bytes, {size} were written; remove it and run again"
    if hashlib.sha256(content).hexdigest() != digest:
        return f"{place.join(name)}: its content changed; remove it and run again"
    return None
