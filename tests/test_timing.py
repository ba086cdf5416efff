"""Seconds as a budget: what was measured is kept, and turned into the largest budget that fits."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adadsr import images
from adadsr.errors import BudgetError, InputError
from adadsr.upscaler import Chain, Execution, Size, Upscaler, measuring, timing
from adadsr.upscaler.outlook import Step
from adadsr.upscaler.pacing import Pacer
from adadsr.upscaler.timing import TimeModel, budget_for
from cli_samples import call
from image_samples import smooth

MODEL = TimeModel(fixed=0.01, pixel=1e-6, sparse=2e-11, dense=1.5e-11, after=2e-7)


@pytest.fixture(scope="module")
def upscaler():
    return Upscaler.from_pretrained("adaedsr-baseline-x2", Execution(threads=1))


@pytest.fixture
def measured(upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As if the machine had been measured."""
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    timing.cache_file().parent.mkdir()
    times = {timing.key_of(step_of(upscaler)): asdict(MODEL)}
    timing.cache_file().write_text(json.dumps(times))
    return MODEL


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch):
    """As if runs were exactly as fast as expected."""
    monkeypatch.setattr(Pacer, "__call__", lambda self, begun: None)


def chain_of(upscaler: Upscaler, size: Size | None = None) -> Chain:
    return Chain(lambda scale: upscaler, [upscaler.scale], size or Size(scale=upscaler.scale))


def step_of(upscaler: Upscaler, side: int = 8) -> Step:
    (step,) = chain_of(upscaler).outlook(side, side).steps
    return step


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_a_fit_finds_what_made_the_times(weights: list[float]):
    rows = np.random.default_rng(0).random((12, 4)) + 0.1
    found = measuring._fit(rows, rows @ np.array(weights))
    np.testing.assert_allclose(found, weights, rtol=1e-6)


def test_a_fit_has_no_negative_weights():
    rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert min(measuring._fit(rows, np.array([3.0, 2.0, 1.0]))) >= 0


def test_the_budget_is_the_largest_that_fits(upscaler: Upscaler, measured: TimeModel):
    outlook = chain_of(upscaler).outlook(64, 64)
    (step,) = outlook.steps
    full = measured.seconds(step, 1.0)
    assert budget_for(outlook, full) == 1
    assert budget_for(outlook, 10 * full) == 1
    for share in (0.9, 0.7, 0.5):
        budget = budget_for(outlook, share * full)
        assert measured.seconds(step, budget) == pytest.approx(share * full, rel=1e-6)


def test_more_time_never_gives_less(upscaler: Upscaler, measured: TimeModel):
    outlook = chain_of(upscaler, Size(scale=3.5)).outlook(40, 56)
    full = sum(measured.seconds(step, 1.0) for step in outlook.steps)
    budgets = [budget_for(outlook, share * full) for share in (0.4, 0.5, 0.6, 0.8, 1.0)]
    assert budgets == sorted(budgets)


def test_too_little_time_says_how_much_is_needed(upscaler: Upscaler, measured: TimeModel):
    outlook = chain_of(upscaler).outlook(64, 64)
    with pytest.raises(BudgetError, match=r"seconds=0.001 is too short: this image takes about 0\.0\d+ s") as caught:
        budget_for(outlook, 0.001)
    upscaler(smooth(64, 64), budget=caught.value.least)  # is enough
    with pytest.raises(InputError, match="finite number above 0"):
        upscaler(smooth(64, 64), seconds=-1)


def test_an_unmeasured_machine_is_told_what_to_do(upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(tmp_path))
    outlook = chain_of(upscaler).outlook(8, 8)
    for content in (None, "", "[]", json.dumps({timing.key_of(step_of(upscaler)): {"fixed": "fast"}})):
        if content is not None:
            timing.cache_file().write_text(content)
        with pytest.raises(InputError, match="run adadsr backends --measure once"):
            budget_for(outlook, 1.0)


def test_a_chain_runs_at_the_budget_and_its_report_says_so(upscaler: Upscaler, measured: TimeModel, steady: None):
    picture = images.picture_from_array(smooth(64, 64))
    outlook = chain_of(upscaler).outlook(64, 64, channels=3)
    seconds = 0.7 * measured.seconds(outlook.steps[0], 1.0)
    for run in (chain_of(upscaler), upscaler):
        report = run(picture, seconds=seconds).report
        assert report.achieved_budget == pytest.approx(budget_for(outlook, seconds), abs=0.01)
        assert (report.requested_seconds, report.requested_budget) == (seconds, None)
        assert "measured" in str(report.time_model)
    prepared = chain_of(upscaler).prepare(picture)
    assert prepared.plan(seconds=seconds).first.target.budget == budget_for(outlook, seconds)
    assert prepared.run(prepared.plan(budget=0.9)).report.requested_seconds is None


def test_a_chain_of_several_networks_shares_the_time(upscaler: Upscaler, measured: TimeModel, steady: None):
    chain, picture = chain_of(upscaler, Size(scale=3.5)), images.picture_from_array(smooth(24, 32))
    outlook = chain.outlook(24, 32, channels=3)
    seconds = 0.7 * sum(measured.seconds(step, 1.0) for step in outlook.steps)
    report = chain(picture, seconds=seconds).report
    assert report.networks == (2, 2)
    assert report.achieved_budget == pytest.approx(budget_for(outlook, seconds), abs=0.02)
    assert report.requested_seconds == seconds


def test_transparency_takes_its_part_of_the_time(upscaler: Upscaler, measured: TimeModel):
    pixels = np.dstack([smooth(64, 64), np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))])
    chain, picture = chain_of(upscaler), images.picture_from_array(pixels)
    opaque = chain.outlook(64, 64)
    both = chain.prepare(picture).outlook
    assert both.macs(0.5) == pytest.approx(2 * opaque.macs(0.5), rel=1e-6)
    assert both.macs(1.0) == chain.prepare(picture).plan().first.dense_cost.total
    assert budget_for(both, 0.1) < budget_for(opaque, 0.1)


def test_a_measurement_predicts_itself(upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a clock that counts work, what is predicted is what the clock said."""
    monkeypatch.setenv("ADADSR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(measuring, "SIDES", (24, 40))
    runs: list[float] = []

    def counted(run: object) -> float:
        result = run()
        runs.append(result.report.executed_gmacs * 0.01 + 0.002)
        return runs[-1]

    monkeypatch.setattr(measuring, "_seconds", counted)
    model = measuring.measure(upscaler)
    assert timing.known(step_of(upscaler)) == model
    step = chain_of(upscaler).outlook(32, 32).steps[0]
    for budget in (0.4, 0.6, 1.0):
        assert model.seconds(step, budget) == pytest.approx(step.cost(budget).total / 1e9 * 0.01 + 0.002, rel=0.05)


def test_the_command_takes_seconds(measured: TimeModel, steady: None, here: Path):
    images.write_image("a.png", images.picture_from_array(smooth(64, 64)))
    arguments = (
        "upscale",
        "a.png",
        "-o",
        "out.png",
        "--device",
        "cpu",
        "--model",
        "adaedsr-baseline-x2",
        "--threads",
        "1",
    )
    done = call(*arguments, "--seconds", "0.1", "--report", "report.json")
    assert done.exit_code == 0, done.output
    report = json.loads(Path("report.json").read_text())["images"][0]
    assert report["requested_seconds"] == 0.1
    assert report["achieved_budget"] < 1
    assert call(*arguments, "--overwrite", "--seconds", "0.1", "--budget", "0.5").exit_code == 2
    refused = call(*arguments, "--overwrite", "--seconds", "0.001")
    assert (refused.exit_code, "is too short" in refused.output) == (1, True)


def test_the_key_tells_machines_and_settings_apart(upscaler: Upscaler):
    keys = {timing.key_of(step_of(each)) for each in (upscaler, upscaler.with_threads(2), upscaler.with_threads(3))}
    assert len(keys) == 3
    assert timing.key_of(step_of(upscaler)) == timing.key_of(step_of(upscaler.with_threads(1)))
    assert replace(upscaler.execution, threads=1) == upscaler.execution
