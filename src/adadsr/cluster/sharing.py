"""The first pass of a shared budget: what each image would cost and lose at several least gains.

Blocks that gain at least the same run everywhere, which is the cheapest way to a total error: so the collection spends
where it helps most, among images as within each. A sketch of an image has a fixed size, so that a million fit.
"""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from adadsr import batch
from adadsr.batch import Job, Options
from adadsr.batch.animating import facts_of, first_frame
from adadsr.batch.steps import attempt, read
from adadsr.cluster.decision import GRID
from adadsr.cluster.fetching import Fetched
from adadsr.cluster.order import Order
from adadsr.images import Picture
from adadsr.storage import open_place
from adadsr.upscaler import Chain, PreparedChain, Target

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
        ("macs_per_second", pa.float64()),
    ]
)
"""A sketch an image. macs_per_second: of the worker, in the first row of a unit."""


class Sketcher:
    """An actor of the first pass: takes tables with a unit a row, and returns sketches of what can be read."""

    def __init__(self, order: Order) -> None:
        self._order, self._chain = order, order.chain()
        self._place = open_place(order.destination)

    def __call__(self, units: pa.Table) -> pa.Table:
        """The sketches of some units."""
        rows = [row for unit in units.to_pylist() for row in self._sketched(unit)]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def _sketched(self, unit: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        options = self._order.options
        with Fetched(self._place, unit, self._chain.size, options) as inputs:
            for index, (job, _) in enumerate(inputs):
                done = attempt(job, lambda job=job: sketch(self._chain, job, options))  # type: ignore[misc]
                if done.value is not None:
                    picture, row = done.value
                    row |= {"unit": unit["unit"], "name": inputs.files[index].name}
                    row["macs_per_second"] = None if rows else self._speed(picture)
                    rows.append(row)
                inputs.files[index].close()
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
    return picture, curve_of(chain.prepare(picture), 1 if facts is None else len(facts.delays))


def curve_of(prepared: PreparedChain, frames: int = 1) -> dict[str, Any]:
    """What a picture of so many frames costs and loses at each of `GRID`, as columns of `SCHEMA`."""
    curve, steps = prepared.curve(GRID), prepared.outlook.steps
    assert curve is not None  # `check` has seen to it
    macs = sum(np.array([step.budget_at(share) for share in curve.shares]) * step.dense.total for step in steps)
    network = steps[0].engine.network
    pixels = (network.depth_tile * network.scale) ** 2 * frames
    return {
        "macs": macs * frames,
        "lost": curve.lost * pixels,
        "full_error": curve.full * pixels,
        "dense_macs": float(sum(step.dense.total for step in steps) * frames),
    }


def check(chain: Chain) -> None:
    """Raise InputError if the networks cannot share a budget."""
    batch.check_target(chain, Options(Target(least_gain=1.0)))
