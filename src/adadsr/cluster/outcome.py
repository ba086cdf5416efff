"""How far a run is, and what became of it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from adadsr.batch import LeftOut
from adadsr.cluster import ledger
from adadsr.cluster.decision import Decision


@dataclass
class Progress:
    """How far a run is. total: of the inputs of this attempt; the others count what ended in it.

    is_planning: whether this is the first pass of a shared budget, in which `done` counts sketches.
    work, total_work: guesses at the cost, in any unit; the time left follows from them.
    """

    total: int
    total_work: float
    is_planning: bool = False
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

    rows: the manifest, of all attempts. skipped: addresses of outputs that were there before and have no row. decision:
    of a shared budget. failures: what SRC named but has no image. earlier: rows that earlier runs wrote. interrupted:
    whether the user stopped the run. report: addresses of its files.
    """

    rows: pa.Table
    skipped: list[str]
    decision: Decision | None
    failures: list[tuple[Path, str]]
    notes: list[str]
    left_out: LeftOut
    seconds: float
    earlier: int = 0
    interrupted: bool = False
    report: tuple[str, ...] | list[str] = ()

    @property
    def done(self) -> int:
        """Number of outputs that are there."""
        return int(ledger.done_only(self.rows).num_rows)

    @property
    def failed(self) -> int:
        """Number of inputs that have no output."""
        return int(self.rows.num_rows) - self.done

    @property
    def chosen_for(self) -> dict[str, int]:
        """Number of outputs for which a network for photos was chosen, by the lossy format of the input."""
        found = ledger.done_only(self.rows)["chosen_for"].drop_null().value_counts()
        return {each["values"]: each["counts"] for each in found.to_pylist()}

    @property
    def share(self) -> float | None:
        """Executed cost as a fraction of the full network's; None if nothing ran."""
        executed, dense = (pc.sum(self.rows[name]).as_py() for name in ("executed_gmacs", "dense_gmacs"))
        return executed / dense if dense else None

    def reasons(self, most: int) -> list[str]:
        """Why inputs failed, up to a number."""
        return [str(each) for each in self.rows["reason"].drop_null().to_pylist()[:most]]
