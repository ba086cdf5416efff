"""What an attempt does: inputs whose outputs are not there yet, or no longer right."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from adadsr import batch
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Collection
from adadsr.cluster.sources import Entry, Sources, absolute, resolved
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
        if name in existing and not collection.options.overwrite and not _is_same(inputs.get(name), entry.address):
            if name in inputs:
                others.append(f"{place.join(name)} belongs to {inputs[name]}, not to {absolute(entry.address)}")
            if name not in done:
                skipped.append(place.join(name))
        elif name not in done:
            todo.append(index)
    if others:
        more = f", as were {len(others) - 1} more" if len(others) > 1 else ""
        advice = "choose another destination, or pass --overwrite to redo the whole collection"
        notes.append(f"{others[0]}, and was left as it is{more}; {advice}")
    attempt = book.next_attempt()
    if kept.num_rows < rows.num_rows:
        book.compact(attempt, kept)
        attempt += 1
    entries, names = [found.entries[index] for index in todo], [names[index] for index in todo]
    if todo:
        book.plan(attempt, {name: absolute(each.address) for name, each in zip(names, entries, strict=True)})
    return Plan(attempt, entries, names, kept, skipped, notes)


def _is_same(planned: str | None, address: str) -> bool:
    """Whether an input is the one that an output was planned for; None if it was planned for none."""
    if planned is None or absolute(planned) == absolute(address):  # resolving takes 30 times as long
        return planned is not None
    return resolved(planned) == resolved(address)


def still_true(rows: pa.Table, entries: list[Entry], names: list[str], existing: set[str]) -> pa.Table:
    """Rows of outputs that are there, and whose inputs did not change since. Failed ones are tried again.

    Nothing is known of inputs that this run does not have, so their rows stay.
    """
    inputs = dict(zip(names, entries, strict=True))

    def is_unchanged(name: str, address: str, tag: str) -> bool:
        entry = inputs.get(name)
        return entry is None or not _is_same(address, entry.address) or entry.tag in ("", tag)

    facts = zip(*(rows[column].to_pylist() for column in ("name", "input", "status", "etag")), strict=True)
    keep = [
        status == "done" and name in existing and is_unchanged(name, address, tag)
        for name, address, status, tag in facts
    ]
    return rows.filter(pa.array(keep, pa.bool_()))
