"""What is kept beside the outputs, in one folder: options, plans, and the manifest.

options.json              all that decides the outputs; a run with others is refused
shared.json               what the first pass of a shared budget decided
shared.parquet            by which factor the gains of each output count
lease/NNNNNN.json         who writes here
plans/NNNNNN.parquet      names of the outputs that an attempt was about to write, and their inputs
tries/NNNNNN-UNIT.json    which picture each try of a unit ran, if the first one did not get to its end
manifest/NNNNNN-UNIT.parquet  rows of a unit of an attempt, written when its outputs are there
report.md, report.json, report.png  of the last attempt
manifest/NNNNNN-base.parquet  rows of all attempts before; files with a smaller number do not count

An attempt takes the next number while it holds the lease. Outputs that exist without a row are those of units that were
cut short, if an earlier plan names them for the same input; all others belong to somebody else.
"""

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from adadsr.cluster import manifest, tries
from adadsr.cluster.decision import Decision
from adadsr.errors import InputError
from adadsr.storage import Place, open_place

FOLDER = "_adadsr"
"""Folder below the destination."""
BASE = "base"
_READERS = 16
_PART = re.compile(r"manifest/(\d{6})-(\w+)\.parquet")
_PLAN = re.compile(r"plans/(\d{6})\.parquet")


class Ledger:
    """The folder of a destination."""

    def __init__(self, destination: str) -> None:
        self._outputs: Place = open_place(destination)
        self.place: Place = open_place(self._outputs.join(FOLDER))

    def check_options(self, wanted: dict[str, Any]) -> None:
        """Keep the options of the first run, which bind later ones as soon as an output is there.

        Raises InputError with the difference if these are others. The caller holds the lease.
        """
        content = self.place.read("options.json")
        before = wanted if content is None else json.loads(content)
        differs = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
        if differs and self._has_outputs():
            told = "; ".join(f"{name} was {before.get(name)}, is {wanted.get(name)}" for name in differs)
            raise InputError(
                f"{self.place.address}: an earlier run had other options ({told}); pass the same, choose another "
                "destination, or pass --overwrite to begin anew"
            )
        if differs:
            self.clear()
        if differs or content is None:
            self.place.replace("options.json", (json.dumps(wanted, indent=2) + "\n").encode())

    def _has_outputs(self) -> bool:
        """Whether earlier runs wrote any."""
        if done_only(self.rows()).num_rows:
            return True
        planned = self.planned()
        return any(file.name in planned for file in self._outputs.files())

    def decision(self) -> Decision | None:
        """What the first pass of a shared budget decided; None if it did not end."""
        content = self.place.read("shared.json")
        if content is None:
            return None
        with self._of_this_version():
            return Decision(**json.loads(content))

    def factors(self) -> dict[str, float]:
        """What the least gain of all is divided by for each output; empty without a decision."""
        content = self.place.read("shared.parquet")
        if content is None:
            return {}
        table = pq.read_table(io.BytesIO(content))
        with self._of_this_version():
            return dict(zip(table["name"].to_pylist(), table["factor"].to_pylist(), strict=True))

    def decide(self, decision: Decision, factors: dict[str, float] | None = None) -> None:
        """Keep it for all attempts. factors: None for a revision, which leaves them as they are."""
        if factors is not None:
            file = io.BytesIO()
            columns = {
                "name": pa.array(factors.keys(), pa.string()),
                "factor": pa.array(factors.values(), pa.float64()),
            }
            pq.write_table(pa.table(columns), file, compression="zstd")
            self.place.replace("shared.parquet", file.getvalue())
        self.place.replace("shared.json", (json.dumps(decision.as_json(), indent=2) + "\n").encode())

    def clear(self) -> None:
        """Forget earlier runs, but not who holds the lease."""
        for file in list(self.place.files()):
            if not file.name.startswith("lease/"):
                self.place.remove(file.name)

    def next_attempt(self) -> int:
        """A number that no attempt had."""
        numbers = [
            int(match[1]) for file in self.place.files() if (match := _PART.match(file.name) or _PLAN.match(file.name))
        ]
        return max(numbers, default=0) + 1

    def plan(self, attempt: int, inputs: dict[str, str]) -> None:
        """Say which outputs an attempt is about to write. inputs: of the outputs, by their names."""
        file = io.BytesIO()
        columns = {"name": pa.array(inputs.keys(), pa.string()), "input": pa.array(inputs.values(), pa.string())}
        pq.write_table(pa.table(columns), file, compression="zstd")
        self.place.replace(f"plans/{attempt:06}.parquet", file.getvalue())

    def planned(self) -> dict[str, str]:
        """The input of each output that some attempt was about to write; the last attempt counts."""
        inputs: dict[str, str] = {}
        for file in sorted(self.place.files("plans")):
            content = self.place.read(file.name) if _PLAN.match(file.name) else None
            if content is not None:
                table = pq.read_table(io.BytesIO(content))
                with self._of_this_version():
                    inputs.update(zip(table["name"].to_pylist(), table["input"].to_pylist(), strict=True))
        return inputs

    def add(self, attempt: int, unit: int, rows: pa.Table) -> pa.Table:
        """Write the rows of a unit. Returns those that count: of another try of the unit, if that came first."""
        name = f"manifest/{attempt:06}-{unit:06}.parquet"
        if self.place.create(name, manifest.encode(rows)):
            return rows
        return self.unit(attempt, unit) or rows

    def unit(self, attempt: int, unit: int) -> pa.Table | None:
        """Rows of a unit; None if they are not there."""
        content = self.place.read(f"manifest/{attempt:06}-{unit:06}.parquet")
        return None if content is None else manifest.decode(content)

    def rows(self) -> pa.Table:
        """The manifest: one row for each output."""
        return self._read(self._valid())

    def compact(self, attempt: int, rows: pa.Table) -> None:
        """Make these the rows of all attempts before, in one file."""
        before = [name for name, _ in self._parts()] + [file.name for file in self.place.files(tries.FOLDER)]
        base = f"manifest/{attempt:06}-{BASE}.parquet"
        self.place.replace(base, manifest.encode(rows))
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(self.place.remove, (name for name in before if name != base)))

    @contextmanager
    def _of_this_version(self) -> Iterator[None]:
        """Raise InputError if what the block reads has other columns or fields."""
        try:
            yield
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self.place.address}: was written by another version of adadsr; pass --overwrite to begin anew"
            ) from error

    def _parts(self) -> list[tuple[str, int]]:
        """Name and number of each file of the manifest."""
        found = [(file.name, _PART.fullmatch(file.name)) for file in self.place.files("manifest")]
        return sorted((name, int(match[1])) for name, match in found if match)

    def _valid(self) -> list[str]:
        """Names of the files that count."""
        parts = self._parts()
        base = max((number for name, number in parts if name.endswith(f"-{BASE}.parquet")), default=0)
        return [name for name, number in parts if number > base or name == f"manifest/{base:06}-{BASE}.parquet"]

    def _read(self, names: list[str]) -> pa.Table:
        with ThreadPoolExecutor(_READERS) as pool:
            contents = list(pool.map(self.place.read, names))
        with self._of_this_version():
            tables = [manifest.decode(content) for content in contents if content is not None]
        return pa.concat_tables(tables) if tables else manifest.table_of([])


def done_only(rows: pa.Table) -> pa.Table:
    """The rows of outputs that are there."""
    return rows.filter(pc.equal(rows["status"], "done"))
