"""What an actor does with units: load networks once; then fetch, upscale, commit, and write the manifest's rows."""

from typing import Any

import pyarrow as pa

from adadsr import batch
from adadsr.batch import Result
from adadsr.cluster import manifest
from adadsr.cluster.fetching import Fetched, Files
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.metrics import Meters
from adadsr.cluster.order import Order
from adadsr.cluster.tries import DEATHS, Tries
from adadsr.storage import open_place


class Worker:
    """An actor of Ray Data: takes tables with a unit a row, and returns the rows of the manifest."""

    def __init__(self, order: Order) -> None:
        self._order, self._chain = order, order.chain()
        batch.check_target(self._chain, order.options)  # loads the network
        self._place, self._ledger = open_place(order.destination), Ledger(order.destination)
        self._meters = Meters()

    def __call__(self, units: pa.Table) -> pa.Table:
        """The rows of some units."""
        return pa.concat_tables([self._done(unit) for unit in units.to_pylist()])

    def _done(self, unit: dict[str, Any]) -> pa.Table:
        """The rows of a unit, from an earlier try if that got to its end."""
        attempt, number = self._order.attempt, unit["unit"]
        before = self._ledger.unit(attempt, number)
        if before is not None:
            return before
        with Fetched(self._place, unit, self._chain.size, self._order.options, self._least_gain(number)) as inputs:
            results = self._results(inputs, Tries(self._ledger.place, f"{attempt:06}-{number:06}"))
            rows = [self._row(result, files, number) for result, files in zip(results, inputs.files, strict=True)]
        return self._ledger.add(attempt, number, manifest.table_of(rows))

    def _results(self, inputs: Fetched, tries: Tries) -> list[Result]:
        """Of all inputs; one by one, without those that kill workers, if an earlier try did not get to its end."""
        options, finished = self._order.options, self._meters.count
        if tries.is_first:
            return batch.run(self._chain, inputs, options, finished=finished).results
        results = []
        for index, files in enumerate(inputs.files):
            tries.begin(files.name)
            if files.name in tries.killers:
                died = f"{DEATHS} workers died running only this image"
                files.refuse(f"{files.shown}: {died}; try it with adadsr upscale, or leave it out")
            results += batch.run(self._chain, inputs[index : index + 1], options, finished=finished).results
        tries.begin("")
        return results

    def _least_gain(self, unit: int) -> float | None:
        decision = self._ledger.decision() if self._order.is_paced else None
        return self._order.least_gain if decision is None else decision.least_gain_of(unit)

    def _row(self, result: Result, files: Files, unit: int) -> dict[str, Any]:
        files.close()
        row = manifest.row(
            result,
            {
                "input": files.address,
                "output": self._place.join(files.name),
                "name": files.name,
                "etag": files.etag,
                "input_bytes": files.input_bytes,
                "output_bytes": files.output_bytes,
                "output_sha256": files.output_sha256,
                "attempt": self._order.attempt,
                "unit": unit,
                "least_gain": files.least_gain,
            },
        )
        if row["reason"]:
            row["reason"] = row["reason"].replace(files.shown, files.address)
        return row
