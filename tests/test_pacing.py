"""Keeping to a time: maps change while a body runs, and the result is that of the map that ran."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.backends import BACKENDS
from adadsr.backends.native import wavefront
from adadsr.graph import Cost
from adadsr.graph.calibration import ErrorDepths, fit_cost
from adadsr.upscaler import Execution, Prepared, Upscaler, pacing, timing
from adadsr.upscaler.pacing import Pacer, Schedule, Time
from adadsr.upscaler.timing import TimeModel
from image_samples import smooth

BLOCKS, ROWS, COLUMNS = 16, 12, 20


class Clock:
    """Stands for `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(pacing, "time", Clock())
    return pacing.time


def family_of(seed: int, spread: float = 2.0) -> ErrorDepths:
    scores = np.random.default_rng(seed).normal(0, spread, (BLOCKS + 1, ROWS, COLUMNS)).astype(np.float32)
    return ErrorDepths(scores, 1)


def run_body(clock: Clock, pacer: Pacer, speed) -> float:
    """Seconds of a body that runs block after block; speed: seconds of a block of a tile, by the share that ran."""
    start, done = clock.now, 0.0
    for block in range(BLOCKS):
        active = float((pacer.depth_map > block).sum())
        clock.now += active * speed(block / BLOCKS)
        done += active
        pacer([ROWS] * (block + 1))
    assert done == pacer.depth_map.sum()
    return clock.now - start


def paced(clock: Clock, family: ErrorDepths, speed, mean_depth: float = 8.0, expected: float = 1e-3) -> tuple:
    depths = fit_cost(family, lambda depth_map: float(depth_map.mean()), mean_depth)
    seconds = float(depths.sum()) * expected
    pacer = Pacer(family, lambda depth_map: depth_map, depths, seconds, seconds)
    return pacer, run_body(clock, pacer, speed) / seconds


@pytest.mark.parametrize("factor", [0.75, 0.9, 1.3, 1.7])
def test_a_run_on_a_faster_or_slower_machine_takes_the_time(clock: Clock, factor: float):
    pacer, took = paced(clock, family_of(0), lambda share: factor * 1e-3)
    assert took == pytest.approx(1, abs=0.1)
    assert pacer.has_changed


def test_a_machine_that_slows_down_in_the_middle(clock: Clock):
    _, took = paced(clock, family_of(1), lambda share: 1e-3 if share < 0.3 else 2e-3)
    assert took == pytest.approx(1, abs=0.1)


def test_a_run_as_fast_as_expected_keeps_its_map(clock: Clock):
    pacer, took = paced(clock, family_of(2), lambda share: 1e-3)
    assert took == pytest.approx(1)
    assert not pacer.has_changed


def test_a_flat_picture_takes_the_time(clock: Clock):
    """All its gains are equal, so a shift alone could only run all of a block or nothing."""
    family = ErrorDepths(np.full((BLOCKS + 1, ROWS, COLUMNS), -9, np.float32), 1)
    _, took = paced(clock, family, lambda share: 0.7e-3)
    assert took == pytest.approx(1, abs=0.1)


def test_no_time_left_ends_at_what_has_begun(clock: Clock):
    pacer, _ = paced(clock, family_of(3), lambda share: 1.0)
    assert pacer.depth_map.max() <= 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.lists(st.floats(0.2, 5), min_size=BLOCKS, max_size=BLOCKS))
def test_what_has_begun_stays_and_what_has_dropped_out_does_not_return(seed: int, speeds: list[float]):
    clock, family = Clock(), family_of(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "time", clock)
        depths = fit_cost(family, lambda depth_map: float(depth_map.mean()), 8.0)
        pacer = Pacer(family, lambda depth_map: depth_map, depths, float(depths.sum()), float(depths.sum()))
        for block, speed in enumerate(speeds):
            clock.now += float((pacer.depth_map > block).sum()) * speed
            before, begun = pacer.depth_map, [ROWS] * block + [ROWS // 2]
            least = np.array([block + (row < ROWS // 2) for row in range(ROWS)])[None, :, None]
            pacer(begun)
            dropped = before <= least
            np.testing.assert_array_equal(pacer.depth_map[dropped], before[dropped])
            assert (pacer.depth_map >= np.minimum(before, least)).all()


@pytest.mark.parametrize("band_bytes", [2**30, 2**16])
def test_a_body_whose_map_changes_gives_the_result_of_the_last_map(band_bytes: int, monkeypatch: pytest.MonkeyPatch):
    """Bit for bit, with the same count, whether blocks advance together or in bands of rows."""
    monkeypatch.setattr(wavefront, "BAND_BYTES", band_bytes)
    upscaler = Upscaler.from_pretrained("adaedsr-baseline-x2", Execution(threads=2))
    prepared, engine = upscaler.prepare(smooth(60, 83)), upscaler.engine
    run = prepared._color
    z0, calls = run.engine.features(run.lr[None]), 0
    start = run.layout.frame.extended_map(prepared.plan(budget=0.5).depth_map, 4)
    pacer = Pacer(run.family(0.0), lambda depths: run.layout.frame.extended_map(depths, 4), start, 1.0, 1.0)

    def revise(begun):
        nonlocal calls
        calls += 1
        least = pacing._blocks_begun(begun, start.shape[1])
        if calls % 5:
            return None
        other = np.random.default_rng(calls).integers(0, 17, start.shape).astype(np.float32)
        pacer.depth_map = np.where(pacer.depth_map > least, np.maximum(other, least), pacer.depth_map)
        return pacer.depth_map

    changed = engine.body(z0, start[None], revise=revise)
    expected = engine.body(z0, pacer.depth_map[None])
    assert calls > 5
    assert (pacer.depth_map != start).any()
    np.testing.assert_array_equal(np.array(changed.data.images), np.array(expected.data.images))
    assert changed.macs == expected.macs


def measure(prepared: Prepared, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this machine had been measured: a run keeps to its time only then."""
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(folder))
    timing.store(prepared.outlook.steps[0], TimeModel(0.0, 0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 1.7])
def test_tiles_on_a_faster_or_slower_machine_take_the_time(clock: Clock, factor: float):
    """Whatever their sizes, if the body is what can change."""
    costs = [Cost(head=50, body=body, tail=100) for body in np.random.default_rng(0).integers(200, 2000, 30).tolist()]
    end = sum(cost.total for cost in costs) * 1e-3
    schedule, ran = Schedule(costs, Time(end, 0.0)), []
    for cost in costs:
        seconds, expected = schedule.seconds_of_body(64)
        body = round(max(0, cost.total * seconds / expected - 150))
        clock.now += factor * 1e-3 * (150 + body)
        schedule.finish_tile(body)
        ran.append(abs(body / cost.body - 1))
    assert clock.now == pytest.approx(end, rel=0.05)
    assert max(ran) < 0.01 if factor == 1 else min(ran[1:]) > 0.1


def test_a_pacer_begins_with_what_its_time_allows(clock: Clock):
    family = family_of(4)
    depths = fit_cost(family, lambda depth_map: float(depth_map.mean()), 8.0)
    for share in (0.0, 0.3, 0.97, 1.0, 1.5):
        pacer = Pacer(family, lambda depth_map: depth_map, depths, share, 1.0)
        pacer.begin()
        assert pacer.depth_map.sum() == pytest.approx(depths.sum() * (1 if share == 0.97 else share), rel=0.05)
        assert pacer.has_changed == (share not in (0.97, 1.0))


def test_where_no_block_is_planned_a_pacer_changes_nothing(clock: Clock):
    none = np.zeros((1, ROWS, COLUMNS), np.float32)
    pacer = Pacer(family_of(5), lambda depth_map: depth_map, none, 0.0, 0.0)
    pacer.begin()
    assert pacer([0] * BLOCKS) is None


@pytest.mark.parametrize(
    ("model", "backend"),
    [("adaedsr-baseline-x2", "torch"), ("adarcan-small-x4", "native"), ("adarcan-small-x4", "torch")],
)
def test_later_tiles_make_up_for_earlier_ones_on_every_engine(
    model: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if BACKENDS[backend].missing("cpu") is not None:
        pytest.skip(f"{backend} cannot run here; CI runs this")
    prepared = Upscaler.from_pretrained(model, Execution(backend=backend, tile=24)).prepare(smooth(24, 60))
    measure(prepared, tmp_path, monkeypatch)
    plan = prepared.within(0.6, 1e-9)  # far too short
    result = prepared.run(plan)
    assert (result.depth_map[:, :, 24:] == 0).all()
    assert (result.depth_map[:, :, :24] > 0).any()
    assert result.report.achieved_budget < plan.budget


def test_a_run_that_had_to_change_reports_what_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    upscaler = Upscaler.from_pretrained("adaedsr-baseline-x2", Execution(threads=1))
    image = smooth(60, 83)
    prepared = upscaler.prepare(image)
    measure(prepared, tmp_path, monkeypatch)
    plan = prepared.within(0.6, 1e-9)  # far too short
    result = prepared.run(plan)
    assert result.report.achieved_budget < plan.budget
    again = prepared.run(prepared.plan(depth_map=result.depth_map[:, ::4, ::4]))
    np.testing.assert_array_equal(again.image, result.image)
    assert again.report.parts["body"] == result.report.parts["body"]
