"""A collection from SRC to DST: lease, options, plan, units on Ray Data, manifest."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from adadsr import batch, checkpoints
from adadsr.batch import LeftOut
from adadsr.cluster import lease, ledger, sources, units
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Collection, Order, Resources
from adadsr.cluster.session import Pool, connected, pool_of
from adadsr.cluster.sources import Entry
from adadsr.networks import Model
from adadsr.storage import LocalPlace, is_url, open_place

IN_FLIGHT = 2
"""Units at an actor: one that runs, and one that waits, so that it never waits for the driver."""


@dataclass
class Progress:
    """How far a run is. total: of the inputs of this attempt; the others count what ended in it.

    work, total_work: guesses at the cost, in any unit; the time left follows from them.
    """

    total: int
    total_work: float
    done: int = 0
    failed: int = 0
    megapixels: float = 0.0
    executed_gmacs: float = 0.0
    dense_gmacs: float = 0.0
    losses: list[float] = field(default_factory=lambda: [0.0, 0.0])
    work: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """Expected time; None before anything ended."""
        passed = time.monotonic() - self.started
        return passed * (self.total_work - self.work) / self.work if self.work else None

    @property
    def predicted_loss(self) -> float | None:
        """Mean over the images, in dB; None if nobody predicts it."""
        total, count = self.losses
        return total / count if count else None

    def add(self, rows: pa.Table, work: float) -> None:
        """Count the rows of a unit."""
        self.work += work
        done = ledger.done_only(rows)
        self.done += done.num_rows
        self.failed += rows.num_rows - done.num_rows
        sizes = done["output_size"].to_pylist()
        self.megapixels += sum(width * height for width, height in sizes) / 1e6
        self.executed_gmacs += pc.sum(done["executed_gmacs"]).as_py() or 0.0
        self.dense_gmacs += pc.sum(done["dense_gmacs"]).as_py() or 0.0
        losses = done["predicted_loss"].drop_null()
        self.losses = [self.losses[0] + (pc.sum(losses).as_py() or 0.0), self.losses[1] + len(losses)]


class Outcome(NamedTuple):
    """What became of a collection.

    rows: the manifest, of all attempts. skipped: addresses of outputs that were there before. failures: what SRC named
    but has no image. earlier: rows that earlier runs wrote. interrupted: whether the user stopped the run.
    """

    rows: pa.Table
    skipped: list[str]
    failures: list[tuple[Path, str]]
    notes: list[str]
    left_out: LeftOut
    seconds: float
    earlier: int = 0
    interrupted: bool = False

    @property
    def done(self) -> int:
        """Number of outputs that are there."""
        return int(ledger.done_only(self.rows).num_rows)

    @property
    def failed(self) -> int:
        """Number of inputs that have no output."""
        return int(self.rows.num_rows) - self.done

    @property
    def share(self) -> float | None:
        """Executed cost as a fraction of the full network's; None if nothing ran."""
        executed, dense = (pc.sum(self.rows[name]).as_py() for name in ("executed_gmacs", "dense_gmacs"))
        return executed / dense if dense else None

    def reasons(self, most: int) -> list[str]:
        """Why inputs failed, up to a number."""
        return [str(each) for each in self.rows["reason"].drop_null().to_pylist()[:most]]


class _Plan(NamedTuple):
    """What an attempt does. names: of the outputs, for each entry. kept: rows of earlier attempts that stay."""

    attempt: int
    entries: list[Entry]
    names: list[str]
    kept: pa.Table
    skipped: list[str]
    notes: list[str]


def run(
    collection: Collection, resources: Resources, *, progress: Callable[[Progress], None] = lambda progress: None
) -> Outcome:
    """Upscale a collection, or what earlier runs left of it. Raises AdaDSRError.

    progress: called after each unit. A KeyboardInterrupt ends the run; what units have finished is kept.
    """
    start = time.perf_counter()
    model = None if collection.model is None else checkpoints.load_model(collection.model)
    found = sources.find(collection.source, collection.destination)
    book, interrupted = Ledger(collection.destination), False
    with lease.held(book.place) as held:
        if collection.options.overwrite:
            book.clear()
        book.check_options(collection.fingerprint(model))
        plan = _plan(collection, found, book)
        if plan.entries:
            with connected(resources):
                pool = pool_of(resources, collection.execution)
                order = _order(collection, model, plan.attempt, pool)
                try:
                    for state in _units_done(order, plan, pool):
                        held.check()
                        progress(state)
                except KeyboardInterrupt:
                    interrupted = True
        rows = book.rows()
        if plan.entries:
            book.compact(plan.attempt + 1, rows)
    notes = [*found.notes, *plan.notes]
    seconds = time.perf_counter() - start
    return Outcome(rows, plan.skipped, found.failures, notes, found.left_out, seconds, plan.kept.num_rows, interrupted)


def _plan(collection: Collection, found: sources.Sources, book: Ledger) -> _Plan:
    """Decide what is left to do, and write it down."""
    place = open_place(collection.destination)
    root = Path(collection.destination if is_url(collection.destination) else place.address)
    jobs, notes = batch.jobs_below(
        [each.found for each in found.entries], root, suffix=collection.suffix, naming=collection.naming
    )
    names = [job.target.relative_to(root).as_posix() for job in jobs]
    existing = {file.name for file in place.files()}
    rows = book.rows()
    kept = _still_true(rows, found.entries, names, existing)
    done, ours = set(kept["name"].to_pylist()), book.planned() | set(rows["name"].to_pylist())
    todo, skipped = [], []
    for index, name in enumerate(names):
        if name in done:
            continue
        if name in existing and name not in ours and not collection.options.overwrite:
            skipped.append(place.join(name))
        else:
            todo.append(index)
    attempt = book.next_attempt()
    if kept.num_rows < rows.num_rows:
        book.compact(attempt, kept)
        attempt += 1
    if todo:
        book.plan(attempt, [names[index] for index in todo])
    return _Plan(
        attempt, [found.entries[index] for index in todo], [names[index] for index in todo], kept, skipped, notes
    )


def _still_true(rows: pa.Table, entries: list[Entry], names: list[str], existing: set[str]) -> pa.Table:
    """Rows of outputs that are there, and whose inputs did not change since. Failed ones are tried again."""
    tags = {name: entry.tag for entry, name in zip(entries, names, strict=True)}
    facts = zip(rows["name"].to_pylist(), rows["status"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    keep = [
        status == "done" and name in existing and (not tags.get(name) or tags[name] == etag)
        for name, status, etag in facts
    ]
    return rows.filter(pa.array(keep, pa.bool_()))


def _order(collection: Collection, model: Model | None, attempt: int, pool: Pool) -> Order:
    options = replace(collection.options, clamp_budget=True, overwrite=True)
    name = "" if collection.model is None else checkpoints.model_name(collection.model)
    destination = collection.destination
    if not is_url(destination):
        destination = str(Path(LocalPlace(destination).address).absolute())
    return Order(destination, attempt, collection.size, pool.execution, options, collection.linear_light, model, name)


def unit_tables(entries: list[Entry], names: list[str], parts: list[list[int]]) -> list[pa.Table]:
    """A table with one row for each unit."""

    def row(number: int, part: list[int]) -> dict[str, Any]:
        inputs = [entries[index] for index in part]
        return {
            "unit": number,
            "sources": [
                each.address if is_url(each.address) else str(Path(each.address).absolute()) for each in inputs
            ],
            "names": [names[index] for index in part],
            "tags": [each.tag for each in inputs],
            "sizes": [each.size for each in inputs],
        }

    return [pa.Table.from_pylist([row(number, part)]) for number, part in enumerate(parts)]


def _units_done(order: Order, plan: _Plan, pool: Pool) -> Iterator[Progress]:
    """Run all units; yields after each."""
    costs = [units.cost_of(each.size) for each in plan.entries]
    parts = units.cut(costs, pool.most)
    state = Progress(len(plan.entries), sum(costs))
    work = [sum(costs[index] for index in part) for part in parts]
    for rows in map_units(unit_tables(plan.entries, plan.names, parts), order, pool):
        state.add(rows, sum(work[unit] for unit in set(rows["unit"].to_pylist())))
        yield state


def map_units(tables: list[pa.Table], order: Order, pool: Pool, worker: type | None = None) -> Iterator[pa.Table]:
    """What actors make of each table, in the order in which they end. worker: the class of the actors."""
    import ray.data

    from adadsr.cluster.worker import Worker

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    compute = ray.data.ActorPoolStrategy(
        min_size=min(pool.first, len(tables)), max_size=min(pool.most, len(tables)),
        max_tasks_in_flight_per_actor=IN_FLIGHT,
    )  # fmt: skip
    data = ray.data.from_blocks(tables).map_batches(
        worker or Worker,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(order,),
        compute=compute,
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        memory=pool.memory,
    )
    yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
