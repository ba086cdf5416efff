"""A run with a time limit keeps it at any speed, by a clock that only the simulated workers move."""

import contextlib
import heapq
from dataclasses import dataclass, field

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra `cluster`; .ci/run installs it")

from adadsr import images
from adadsr.cluster import Collection, Resources, pacing, run, running, units
from adadsr.cluster.decision import GRID, Decision, gain_at, value_at
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.pacing import Pace
from adadsr.cluster.running import IN_FLIGHT
from adadsr.cluster.session import Pool
from adadsr.cluster.worker import Worker
from adadsr.upscaler import Execution, Size
from upscaler_samples import photo

GUESS = 1e9
"""Multiply-accumulates a second of a worker by the first pass."""


@dataclass
class Cluster:
    """Workers of a true speed, which takes units in turn. spent, full: cost of the run, and at full depth."""

    workers: int
    speed: float
    seconds: float
    start: float = 8.0
    seed: int = 0
    now: float = 0.0
    spent: float = 0.0
    paces: dict[int, float] = field(default_factory=dict)

    def run(self, *, is_paced: bool = True) -> float:
        """Seconds until the last unit ends. What the first pass decided fits the time by its guess."""
        random = np.random.default_rng(self.seed)
        dense = np.minimum(random.pareto(1.5, 300 * self.workers + 500), 20) + 0.3
        falling = 1 - 0.8 * np.linspace(0, 1, len(GRID)) ** random.uniform(0.5, 2, (len(dense), 1))
        # by the guess, half of the cost fits
        images = dense[:, None] * falling * GUESS * self.workers * (self.seconds - self.start) / (0.5 * dense.sum())
        curve = images.sum(0)
        first = gain_at(curve, GUESS * self.workers * (self.seconds - self.start))
        decision = Decision(first, 0.5, 0.0, None, len(dense))
        parts = units.cut([value_at(image, first) for image in images], self.workers)
        curves = np.array([images[part].sum(0) for part in parts])
        self.full = float(curve[0])
        ahead = (IN_FLIGHT + 1) * self.workers
        pace = Pace(decision, curves, GUESS * self.workers, self.seconds, ahead, lambda: self.now)
        waiting, running = list(range(len(parts))), [(self.start, -1, 0.0)] * self.workers
        heapq.heapify(running)
        while running:
            self.now, unit, macs = heapq.heappop(running)
            if unit >= 0:
                self.spent += macs
                revised = pace.finished([unit], macs)
                if revised is not None and is_paced:
                    assert revised.paces[-1][0] > max(self.paces)  # no unit that was taken gets another least gain
                    decision = revised
            if waiting:
                unit = waiting.pop(0)
                self.paces[unit] = decision.least_gain_of(unit)
                macs = value_at(curves[unit], self.paces[unit])
                heapq.heappush(running, (self.now + macs / self.speed, unit, macs))
        return self.now


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [1, 2, 40])
@pytest.mark.parametrize("speed", [0.7, 0.9, 1.0, 1.25, 1.6])
def test_the_time_is_kept_and_used_at_any_speed(speed, workers, seed):
    cluster = Cluster(workers, speed * GUESS, 600.0, seed=seed)
    taken = cluster.run()
    assert 0.93 * 600 <= taken <= 1.02 * 600
    assert cluster.spent >= 0.93 * speed * GUESS * workers * (600 - 8)


def test_a_speed_that_was_guessed_wrong_would_miss_the_time():
    """What pacing is for."""
    assert Cluster(2, 0.7 * GUESS, 600.0).run(is_paced=False) > 1.3 * 600
    assert Cluster(2, 1.6 * GUESS, 600.0).run(is_paced=False) < 0.7 * 600


def test_with_time_to_spare_all_runs_at_full_depth_and_without_at_the_least():
    fast, slow = Cluster(2, 4 * GUESS, 600.0), Cluster(2, 0.1 * GUESS, 600.0)
    fast.run()
    slow.run()
    assert fast.paces[max(fast.paces)] == 0
    assert slow.paces[max(slow.paces)] == GRID[-1]


def test_a_later_run_goes_on_with_the_last_revision():
    first = Decision(2.0, 0.5, 0.1, None, 3)
    revised = first.revised(5, 1.0).revised(9, 0.5)
    assert [revised.least_gain_of(unit) for unit in (0, 4, 5, 8, 9, 100)] == [2.0, 2.0, 1.0, 1.0, 0.5, 0.5]
    assert revised.continued() == Decision(0.5, 0.5, 0.1, None, 3)
    assert first.continued() is first
    assert Decision(**revised.as_json()).least_gain_of(9) == 0.5


def test_a_run_revises_what_workers_do_and_keeps_it(here, monkeypatch):
    """Driver, ledger and workers as they are; in place of Ray, a loop hands out units."""
    pytest.importorskip("ray", reason="needs the extra `cluster`; .ci/run installs it")
    monkeypatch.setattr(running, "connected", lambda resources: contextlib.nullcontext())
    monkeypatch.setattr(running, "pool_of", lambda resources, execution: Pool(1, 1, 1, 0, 0, Execution(threads=1)))
    monkeypatch.setattr(pacing, "REVISED", 0.0)

    def in_turn(tables, order, pool, worker=None):
        actor = (worker or Worker)(order)
        return (actor(table) for table in tables)

    monkeypatch.setattr(running, "map_units", in_turn)
    pixels = photo(64, 64)
    for number in range(8):
        images.write_image(here / f"{number}.png", images.picture_from_array(pixels + np.uint8(number)))
    asked = Collection(str(here), "out", "adaedsr-baseline-x2", hours=1.0, size=Size(scale=2))
    outcome = run(asked, Resources())
    assert (outcome.done, outcome.failed) == (8, 0)
    assert outcome.decision is not None
    assert outcome.decision.paces
    factors, rows = Ledger("out").factors(), outcome.rows.to_pylist()
    for row in rows:
        expected = outcome.decision.least_gain_of(row["unit"]) / factors[row["name"]]
        assert row["least_gain"] == pytest.approx(expected)
    assert "at the end, to keep to the time" in (here / "out/_adadsr/report.md").read_text()
    (here / "out" / rows[0]["name"]).unlink()
    again = run(asked, Resources())
    assert (again.done, again.earlier) == (8, 7)
    assert again.decision == outcome.decision
