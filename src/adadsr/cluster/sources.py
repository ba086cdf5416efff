"""SRC -> inputs: a folder or pattern of this machine, a prefix of a bucket, or a list of addresses."""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adadsr.batch import Found, LeftOut, Search, is_pattern
from adadsr.batch.leftout import EARLIER, HIDDEN
from adadsr.cluster.ledger import FOLDER
from adadsr.errors import InputError, StorageError
from adadsr.formats import READABLE_SUFFIXES, suffix_of
from adadsr.storage import File, LocalPlace, ObjectPlace, Place, is_url, open_place

LIST_SUFFIXES = (".parquet", ".csv", ".txt")
COLUMNS = ("source", "input", "url", "uri", "path", "file")
"""Names of the column of addresses, of which the first one found counts; otherwise the only column."""


@dataclass(frozen=True)
class Entry:
    """An input. found: as `batch` names outputs by. size, tag: see `storage.File`; 0 and empty if nobody said."""

    address: str
    found: Found
    size: int = 0
    tag: str = ""


@dataclass
class Sources:
    """All inputs, in order. failures, notes, left_out: as of `batch.Jobs`."""

    entries: list[Entry]
    failures: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def split(address: str) -> tuple[str, str]:
    """The address of the folder or bucket that a file is in, and its name there."""
    if not is_url(address):
        return os.path.split(address)
    scheme, _, path = address.partition("://")
    bucket, _, name = path.partition("/")
    return f"{scheme}://{bucket}", name


def absolute(address: str) -> str:
    """The address, whatever folder a run starts in."""
    return address if is_url(address) else os.path.abspath(address)


def resolved(address: str) -> str:
    """The address by which inputs are compared: the same through whatever links it is reached."""
    try:
        return address if is_url(address) else os.path.realpath(address)
    except ValueError:  # a null character; reading it will say so
        return address


def find(source: str, destination: str) -> Sources:
    """All inputs that `source` names.

    source: a folder, pattern or image of this machine; a prefix or object of a bucket; or a list, whose suffix is one
    of `LIST_SUFFIXES`, of images. Files below `destination` are never inputs, nor is what runs keep for themselves. An
    address that cannot be an input is a failure of its own. Raises InputError if there is no input, StorageError if
    source cannot be read.
    """
    if source.lower().endswith(LIST_SUFFIXES) and not os.path.isdir(source):
        sources = _listed(source)
    elif is_url(source):
        sources = _in_bucket(source.rstrip("/"), destination)
    else:
        sources = _on_disk(source, destination)
    if not sources.entries and not sources.failures:
        raise InputError(f"{source}: no images here; supported: {', '.join(READABLE_SUFFIXES)}")
    if not sources.entries:
        raise InputError(sources.failures[0][1])
    return sources


def _on_disk(source: str, destination: str) -> Sources:
    if not os.path.lexists(source) and not is_pattern(source):
        raise InputError(f"{source}: no such folder or file; check the path")
    search = Search([source], None if is_url(destination) else Path(destination))
    entries = []
    for found in search.found:
        if FOLDER in found.below.parts:
            search.left_out.add(found.source)
        else:
            entries.append(_local_entry(found))
    return Sources(entries, search.failures, [], search.left_out)


def _local_entry(found: Found) -> Entry:
    file = None
    with contextlib.suppress(StorageError, ValueError):  # reading it will say so
        file = LocalPlace(str(found.source.parent)).find(found.source.name)
    size, tag = (0, "") if file is None else (file.size, file.tag)
    return Entry(str(found.source), found, size, tag)


def _in_bucket(source: str, destination: str) -> Sources:
    parent, name = split(source)
    if suffix_of(name) in READABLE_SUFFIXES:
        file = open_place(parent).find(name)
        if file is not None:
            return Sources([_entry(source, Path(name).name, file, named=True)])
    place, left_out = open_place(source), LeftOut()
    entries, failures = [], []
    for file in sorted(place.files()):
        address = place.join(file.name)
        if any(part.startswith(".") for part in file.name.split("/")):
            left_out.add(address, HIDDEN)
        elif address.startswith(f"{destination.rstrip('/')}/"):
            left_out.add(address, EARLIER)
        elif suffix_of(file.name) not in READABLE_SUFFIXES or FOLDER in file.name.split("/"):
            left_out.add(address)
        elif refusal := _misnamed(address, file.name):
            failures.append((Path(address), refusal))
        else:
            entries.append(_entry(address, file.name, file))
    if not entries and not failures and isinstance(place, ObjectPlace) and not place.has_bucket():
        raise StorageError(f"{source}: no such bucket; check its name")
    return Sources(entries, failures, left_out=left_out)


def _entry(address: str, below: str, file: File, *, named: bool = False) -> Entry:
    return Entry(address, Found(Path(address), Path(below), named), file.size, file.tag)


def _misnamed(address: str, name: str) -> str | None:
    """Why no output can be named after an object; None if one can. name: of the object, as far as outputs get it."""
    if any(part in ("", ".", "..") for part in name.split("/")):
        return f"{address}: has a folder named '', . or ..; rename the object, or correct the list"
    return None


def _refusal(address: str) -> str | None:
    """Why an object of a list cannot be an input; None if it can."""
    try:
        ObjectPlace(address)
    except InputError as error:
        return str(error)
    return _misnamed(address, split(address)[1])


def _listed(source: str) -> Sources:
    """The images of a list; relative paths start at the folder of the list."""
    parent, name = split(source)
    place: Place = open_place(parent or ".")
    content = place.read(name)
    if content is None:
        raise StorageError(f"{source}: no such list; check the path")
    given = [address for address in _addresses(source, content) if address]
    base = source.rpartition("/")[0] if is_url(source) else parent
    whole = [each if is_url(each) or os.path.isabs(each) or not base else f"{base}/{each}" for each in given]
    whole = [each if is_url(each) else os.path.normpath(each) for each in whole]
    distinct = list(dict.fromkeys(whole))
    more = len(whole) - len(distinct)
    notes = [f"{source}: left out {more} that {'is' if more == 1 else 'are'} listed twice"] if more else []
    refusals = [_refusal(each) if is_url(each) else None for each in distinct]
    failures = [(Path(each), refusal) for each, refusal in zip(distinct, refusals, strict=True) if refusal]
    usable = [each for each, refusal in zip(distinct, refusals, strict=True) if not refusal]
    root = _common_folder([absolute(each) for each in usable])
    entries = []
    for address in usable:
        found = Found(Path(address), Path(absolute(address)[len(root) :].lstrip("/")), True)
        entries.append(Entry(address, found) if is_url(address) else _local_entry(found))
    return Sources(entries, failures, notes)


def _addresses(source: str, content: bytes) -> Iterable[str]:
    """The addresses of a list in its order. Raises InputError for a file that is not one."""
    try:
        if source.lower().endswith(".parquet"):
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(io.BytesIO(content))
            return [str(each) for each in table[_column(source, table.column_names)].to_pylist() if each]
        text = content.decode("utf-8-sig")
    except (UnicodeDecodeError, ValueError, OSError) as error:  # pyarrow's errors are of these kinds
        raise InputError(
            f"{source}: not a list ({error}); write Parquet, CSV or one address a line in UTF-8"
        ) from error
    if source.lower().endswith(".txt"):
        return [line.strip() for line in text.splitlines()]
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        return []
    at = rows[0].index(_column(source, rows[0]))
    return [row[at].strip() for row in rows[1:] if len(row) > at]


def _column(source: str, names: Sequence[str]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise InputError(f"{source}: columns {', '.join(names)}; name the one of addresses {COLUMNS[0]}")


def _common_folder(addresses: Sequence[str]) -> str:
    """What all addresses begin with, up to a slash."""
    least, most = min(addresses, default=""), max(addresses, default="")
    same = next((at for at, pair in enumerate(zip(least, most, strict=False)) if pair[0] != pair[1]), len(least))
    return least[: least.rfind("/", 0, same) + 1]
