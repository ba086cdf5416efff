"""A collection from SRC to DST: lease, options, plan, units on Ray Data, manifest."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from adadsr import batch, checkpoints
from adadsr.cluster import lease, planning, reporting, sources, units
from adadsr.cluster.decision import Decision, Sketches
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Collection, Order, Resources
from adadsr.cluster.outcome import Outcome, Progress
from adadsr.cluster.pacing import END_SECONDS, Pace
from adadsr.cluster.planning import Plan
from adadsr.cluster.session import Pool, connected, pool_of
from adadsr.cluster.sharing import Sketcher, reference_of
from adadsr.cluster.sources import Entry
from adadsr.errors import InputError
from adadsr.networks import Model
from adadsr.storage import LocalPlace, is_url, open_place
from adadsr.upscaler import Execution, Target

IN_FLIGHT = 2
"""Units at an actor: one that runs, and one that waits, so that it never waits for the driver."""
START_SECONDS = 600
"""Within which a cluster that has no room for an actor must have added a node."""


def run(
    collection: Collection, resources: Resources, *, progress: Callable[[Progress], None] = lambda progress: None
) -> Outcome:
    """Upscale a collection, or what earlier runs left of it. Raises AdaDSRError.

    progress: called after each unit. A KeyboardInterrupt ends the run; what units have finished is kept.
    """
    start = time.perf_counter()
    model = None if collection.model is None else checkpoints.load_model(collection.model)
    found = sources.find(collection.source, collection.destination)
    _check_target(collection, model)
    book, interrupted = Ledger(collection.destination), False
    with lease.held(book.place) as held:
        if collection.options.overwrite:
            book.clear()
        book.check_options(collection.fingerprint(model))
        plan, decision = planning.plan(collection, found, book), _earlier(book)
        if plan.entries:
            with connected(resources):
                pool = pool_of(resources, collection.execution)
                order = _order(collection, model, plan.attempt, pool)
                try:
                    sketches = Sketches(reference_of(order.options.target))
                    if collection.is_shared and decision is None:
                        to_start = 0.0
                        for state in _sketched(order, plan, pool, sketches):
                            held.check()
                            progress(state)
                            to_start = to_start or time.monotonic() - state.started
                        spent = time.perf_counter() - start + to_start  # the actors of the run start as long
                        decision = _decided(collection, book, sketches, pool, spent + END_SECONDS)
                    left = None if collection.hours is None else collection.hours * 3600 + start - time.perf_counter()
                    for state in _units_done(order, plan, pool, sketches, book, decision, left):
                        held.check()
                        progress(state)
                except KeyboardInterrupt:
                    interrupted = True
        rows, decision = book.rows(), book.decision()
        if plan.entries:
            book.compact(plan.attempt + 1, rows)
            open_place(collection.destination).tidy()
        notes, seconds = [*found.notes, *plan.notes], time.perf_counter() - start
        outcome = Outcome(
            rows,
            plan.skipped,
            decision,
            found.failures,
            notes,
            found.left_out,
            seconds,
            plan.kept.num_rows,
            interrupted,
        )
        return outcome._replace(report=reporting.write(book, outcome))


def _order(collection: Collection, model: Model | None, attempt: int, pool: Pool) -> Order:
    options = replace(collection.options, clamp_budget=True, overwrite=True)
    name = "" if collection.model is None else checkpoints.model_name(collection.model)
    destination = collection.destination
    if not is_url(destination):
        destination = str(Path(LocalPlace(destination).address).absolute())
    return Order(destination, attempt, collection.size, pool.execution, options, collection.linear_light, model, name)


def _earlier(book: Ledger) -> Decision | None:
    """What earlier runs decided."""
    decision = book.decision()
    return None if decision is None else decision.continued()


def unit_tables(
    entries: list[Entry], names: list[str], parts: list[list[int]], factors: dict[str, float] | None = None
) -> list[pa.Table]:
    """A table with one row for each unit. factors: of the gains of outputs; 1 for those that it does not have."""

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
            "factors": [(factors or {}).get(names[index], 1.0) for index in part],
        }

    return [pa.Table.from_pylist([row(number, part)]) for number, part in enumerate(parts)]


def _check_target(collection: Collection, model: Model | None) -> None:
    """Raise InputError for a target that the network cannot run at, before anything starts."""
    execution = Execution(precision="float32", backend=None)
    options = collection.options
    name = "" if collection.model is None else checkpoints.model_name(collection.model)
    chain = Order("", 0, collection.size, execution, options, collection.linear_light, model, name).chain()
    batch.check_target(chain, options)
    if collection.is_shared:
        batch.check_target(chain, replace(options, target=Target(least_gain=1.0)))


def _sketched(order: Order, plan: Plan, pool: Pool, sketches: Sketches) -> Iterator[Progress]:
    """Sketch all inputs; yields after each unit."""
    costs = [units.cost_of(each.size) for each in plan.entries]
    parts = units.cut(costs, pool.most)
    state = Progress(len(plan.entries), sum(costs), is_planning=True)
    for rows in map_units(unit_tables(plan.entries, plan.names, parts), order, pool, Sketcher):
        sketches.add(rows)
        for unit in set(rows["unit"].to_pylist()):
            state.work += sum(costs[index] for index in parts[unit])
        state.done += rows.num_rows
        yield state


def _decided(collection: Collection, book: Ledger, sketches: Sketches, pool: Pool, seconds: float) -> Decision:
    """Decide what all images get. seconds: that the run itself does not have."""
    if collection.hours is None:
        decision = sketches.for_target(collection.options.target)
    else:
        decision = sketches.for_hours(collection.hours, pool.most, seconds)
    book.decide(decision, sketches.factors)
    return decision


def _units_done(
    order: Order,
    plan: Plan,
    pool: Pool,
    sketches: Sketches,
    book: Ledger,
    decision: Decision | None,
    seconds: float | None,
) -> Iterator[Progress]:
    """Run all units; yields after each. sketches: if there are any, units are cut by them, and kept to the seconds."""
    costs = [units.cost_of(each.size) for each in plan.entries]
    factors = {} if decision is None else book.factors()
    if decision is not None and len(sketches):
        gains = [decision.least_gain / factors.get(name, 1.0) for name in plan.names]
        costs = [sketches.macs(name, gain) or 1.0 for name, gain in zip(plan.names, gains, strict=True)]
    parts = units.cut(costs, pool.most)
    pace = None
    if decision is not None:
        if seconds is not None and len(sketches):
            pace = _pace(decision, sketches, [[plan.names[index] for index in part] for part in parts], pool, seconds)
        order = replace(order, least_gain=decision.least_gain, is_paced=pace is not None)
    state = Progress(len(plan.entries), sum(costs))
    work = [sum(costs[index] for index in part) for part in parts]
    for rows in map_units(unit_tables(plan.entries, plan.names, parts, factors), order, pool):
        numbers = set(rows["unit"].to_pylist())
        before = state.executed_gmacs
        state.add(rows, sum(work[unit] for unit in numbers))
        revised = None if pace is None else pace.finished(numbers, (state.executed_gmacs - before) * 1e9)
        if revised is not None:
            book.decide(revised)
        yield state


def _pace(decision: Decision, sketches: Sketches, names: list[list[str]], pool: Pool, seconds: float) -> Pace:
    """Of units with these outputs."""
    ahead = (IN_FLIGHT + 1) * pool.most  # one more each for units whose rows are on their way
    speed = sketches.macs_per_second * pool.most
    return Pace(decision, sketches.unit_curves(names), speed, seconds - END_SECONDS, ahead)


def map_units(tables: list[pa.Table], order: Order, pool: Pool, worker: type | None = None) -> Iterator[pa.Table]:
    """What actors make of each table, in the order in which they end. worker: the class of the actors.

    Raises InputError if no node had room for an actor, and none was added.
    """
    import ray.data
    from ray.exceptions import GetTimeoutError

    from adadsr.cluster.worker import Worker

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.wait_for_min_actors_s = -1 if pool.first else START_SECONDS
    compute = ray.data.ActorPoolStrategy(
        min_size=max(1, min(pool.first, len(tables))), max_size=min(pool.most, len(tables)),
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
    try:
        yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except GetTimeoutError as error:
        if pool.first:
            raise
        raise InputError(
            f"no node of the cluster has {pool.needs} for one actor, and none was added within "
            f"{START_SECONDS // 60} minutes; lower --cores or --memory"
        ) from error
