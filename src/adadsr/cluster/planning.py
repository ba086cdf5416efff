"""What an attempt does: inputs whose outputs are not there yet, or no longer right."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from adadsr import batch
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Collection
from adadsr.cluster.sources import Entry, Sources, absolute
from adadsr.storage import is_url, open_place


class Plan(NamedTuple):
    """What an attempt does. names: of the outputs, for each entry. kept: rows of earlier attempts that stay."""

    attempt: int
    entries: list[Entry]
    names: list[str]
    kept: pa.Table
    skipped: list[str]
    notes: list[str]


def plan(collection: Collection, found: Sources, book: Ledger) -> Plan:
    """Decide what is left to do, and write it down. An output belongs to the input that it was planned for."""
    place = open_place(collection.destination)
    root = Path(collection.destination if is_url(collection.destination) else place.address)
    jobs, notes = batch.jobs_below(
        [each.found for each in found.entries], root, suffix=collection.suffix, naming=collection.naming
    )
    names = [job.target.relative_to(root).as_posix() for job in jobs]
    existing = {file.name for file in place.files()}
    rows, inputs = book.rows(), book.planned()
    kept = still_true(rows, found.entries, names, existing)
    done = set(kept["name"].to_pylist())
    todo, skipped, others = [], [], []
    for index, (entry, name) in enumerate(zip(found.entries, names, strict=True)):
        is_ours = inputs.get(name) == absolute(entry.address) or collection.options.overwrite
        if name in existing and not is_ours:
            skipped.append(place.join(name))
            if name in inputs:
                others.append(f"{skipped[-1]} was made from {inputs[name]}, not from {entry.address}")
        elif name not in done:
            todo.append(index)
    if others:
        more = f", and so do {len(others) - 1} more" if len(others) > 1 else ""
        notes.append(f"{others[0]}; it stays{more}; choose another destination, or pass --overwrite to begin anew")
    attempt = book.next_attempt()
    if kept.num_rows < rows.num_rows:
        book.compact(attempt, kept)
        attempt += 1
    entries, names = [found.entries[index] for index in todo], [names[index] for index in todo]
    if todo:
        book.plan(attempt, {name: absolute(each.address) for name, each in zip(names, entries, strict=True)})
    return Plan(attempt, entries, names, kept, skipped, notes)


def still_true(rows: pa.Table, entries: list[Entry], names: list[str], existing: set[str]) -> pa.Table:
    """Rows of outputs that are there, and whose inputs did not change since. Failed ones are tried again.

    Nothing is known of inputs that this run does not have, so their rows stay.
    """
    tags = {(name, absolute(entry.address)): entry.tag for entry, name in zip(entries, names, strict=True)}
    facts = zip(*(rows[column].to_pylist() for column in ("name", "input", "status", "etag")), strict=True)
    keep = [
        status == "done" and name in existing and tags.get((name, absolute(address))) in (None, "", etag)
        for name, address, status, etag in facts
    ]
    return rows.filter(pa.array(keep, pa.bool_()))
