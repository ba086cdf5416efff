"""The first pass of a shared budget: what each image would cost and lose at several least gains.

Blocks that gain at least the same run everywhere, which is the cheapest way to a total error: so the collection spends
where it helps most, among images as within each. Gains are those of the adapter, times a factor for each image from
what was measured on parts (`sampling`). A sketch of an image has a fixed size, so that a million fit.
"""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from adadsr.batch import Job, Options
from adadsr.batch.animating import facts_of, first_frame
from adadsr.batch.steps import attempt, read
from adadsr.cluster.decision import GRID, REFERENCE
from adadsr.cluster.fetching import Fetched
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.order import Order
from adadsr.cluster.sampling import sampled
from adadsr.cluster.tries import Tries
from adadsr.images import Picture
from adadsr.storage import open_place
from adadsr.upscaler import Chain, Target

TRIAL_SIDE = 256
"""Largest side of what is run to learn the speed, in LR pixels."""
TRIAL_GAIN = 0.1
_CURVE = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("name", pa.string()),
        ("macs", _CURVE),
        ("lost", _CURVE),
        ("full_error", pa.float64()),
        ("dense_macs", pa.float64()),
        ("pixels", pa.float64()),
        ("texture", pa.float64()),
        ("parts", pa.int32()),
        ("change", pa.float64()),
        ("macs_per_second", pa.float64()),
    ]
)
"""A sketch an image. macs, lost: at each of `GRID`. texture to change: see `sampling.Sample`.

macs_per_second: of the worker, in the first row of a unit.
"""
MOST_REFERENCE = 0.8
"""Above it, parts at the reference budget change too little."""


def reference_of(target: Target) -> float:
    """Budget at which parts are measured for a target of the whole collection."""
    return min(target.budget or REFERENCE, MOST_REFERENCE)


class Sketcher:
    """An actor of the first pass: takes tables with a unit a row, and returns sketches of what can be read."""

    def __init__(self, order: Order) -> None:
        self._order, self._chain = order, order.chain()
        self._place, self._ledger = open_place(order.destination), Ledger(order.destination)

    def __call__(self, units: pa.Table) -> pa.Table:
        """The sketches of some units."""
        rows = [row for unit in units.to_pylist() for row in self._sketched(unit)]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def _sketched(self, unit: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        options = self._order.options
        tries = Tries(self._ledger.place, f"{self._order.attempt:06}-sketch-{unit['unit']:06}")
        with Fetched(self._place, unit, self._chain.size, options) as inputs:
            for index, files in enumerate(inputs.files):
                tries.begin(files.name)
                if files.name in tries.killers:
                    files.refuse(f"{files.shown}: kills its workers")
                job = inputs[index].job
                done = attempt(job, lambda job=job: sketch(self._chain, job, options))  # type: ignore[misc]
                if done.value is not None:
                    picture, row = done.value
                    row |= {"unit": unit["unit"], "name": files.name}
                    row["macs_per_second"] = None if rows else self._speed(picture)
                    rows.append(row)
                files.close()
        tries.begin("")
        return rows

    def _speed(self, picture: Picture) -> float:
        """Multiply-accumulates a second of a run on a part of a picture, with encoding."""
        colors = 1 if picture.is_gray else 3
        part = Picture(np.ascontiguousarray(picture.pixels[:TRIAL_SIDE, :TRIAL_SIDE, :colors]))
        start = time.perf_counter()
        upscaled = self._chain(part, least_gain=TRIAL_GAIN)
        upscaled.to_bytes("png")
        return upscaled.report.executed_gmacs * 1e9 / (time.perf_counter() - start)


def sketch(chain: Chain, job: Job, options: Options) -> tuple[Picture, dict[str, Any]]:
    """An input, and what it costs and loses at each of `GRID`. Head and adapter run; no block does."""
    facts = facts_of(job, options)
    picture = read(chain, job, options) if facts is None else first_frame(job, options)
    return picture, sketch_of(chain, picture, reference_of(options.target), 1 if facts is None else len(facts.delays))


def sketch_of(chain: Chain, picture: Picture, reference: float, frames: int = 1) -> dict[str, Any]:
    """What a picture of so many frames costs and loses, as columns of `SCHEMA`. reference: budget for its parts."""
    prepared = chain.prepare(picture)
    curve, steps = prepared.curve(GRID), prepared.outlook.steps
    assert curve is not None  # a run checks its target before anything starts
    macs = sum(np.array([step.budget_at(share) for share in curve.shares]) * step.dense.total for step in steps)
    network, plan = steps[0].engine.network, prepared.plan(budget=max(reference, prepared.least_budget)).first
    tile_pixels = (network.depth_tile * network.scale) ** 2 * frames
    upscaler = chain.upscalers(picture.height, picture.width, lossy=picture.lossy_format is not None)[0]
    sample = sampled(upscaler, picture, plan.depth_map, network.depth_tile)
    return sample._asdict() | {
        "macs": macs * frames,
        "lost": curve.lost * tile_pixels,
        "full_error": None if curve.full is None else curve.full * tile_pixels,
        "dense_macs": float(sum(step.dense.total for step in steps) * frames),
        "pixels": float(picture.height * picture.width * network.scale**2 * frames),
    }
