"""What runs for a request: its plan, lowered as far as the queue asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")

from adadsr import images
from adadsr.graph.calibration import LEAST_GAIN
from adadsr.serving import work
from adadsr.serving.demand import Demand
from adadsr.serving.metrics import Metrics
from adadsr.serving.work import Cancel, Cancelled, Terms
from adadsr.upscaler import Chain, Execution, Size, Target, Upscaler
from image_samples import smooth

METRICS = Metrics()


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.from_pretrained("adaedsr-baseline-x2", Execution(threads=1))


def picture(busy: bool) -> images.Picture:
    pixels = smooth(32, 48)
    if busy:
        pixels = pixels ^ np.kron(np.eye(8, 12, dtype=np.uint8) * 128, np.ones((4, 4), np.uint8))[..., None]
    return images.picture_from_array(np.ascontiguousarray(pixels))


def planned(chain: Chain, given: images.Picture, **terms):
    prepared = work.prepare(chain, given, METRICS, Cancel())
    return work.plan(prepared, Terms(chain, **{"target": Target(), "demand": Demand(), **terms}), METRICS)


@given(st.floats(LEAST_GAIN, 1e4), st.sampled_from([0.4, 0.7, 1.0]), st.floats(0.3, 0.4))
def test_a_plan_stays_between_its_floor_and_its_request(upscaler: Upscaler, gain: float, budget: float, floor: float):
    terms = {"target": Target(budget=budget), "least_gain": gain, "floor": floor}
    plan = planned(Chain.of(upscaler), picture(True), **terms)
    assert floor - 0.01 <= plan.first.budget <= budget
    assert plan.target == Target(budget=budget)  # the report says what was requested


def test_what_gains_less_gives_first(upscaler: Upscaler):
    chain = Chain.of(upscaler)
    flat, busy = (
        planned(chain, picture(each), least_gain=0.01, floor=0.1, demand=Demand()).first.budget
        for each in (False, True)
    )
    assert flat < busy < 1
    assert planned(chain, picture(False)).first.budget == 1


def test_pictures_teach_the_demand(upscaler: Upscaler):
    demand, before = Demand(), Demand()
    planned(Chain.of(upscaler), picture(True), least_gain=1e-3, floor=0.1, demand=demand)
    gains = np.geomspace(1e-8, 1e2, 20)
    assert [demand.share(gain) for gain in gains] != [before.share(gain) for gain in gains]


def test_all_networks_of_a_chain_get_the_lowered_budget(upscaler: Upscaler):
    chain = Chain(lambda scale: upscaler, [2], Size(scale=3.5))
    plan = planned(chain, picture(True), least_gain=1e3, floor=0.45)
    assert len(plan.networks) == 2
    assert {each.target for each in plan.networks} == {Target(budget=0.45)}
    report = chain.prepare(picture(True)).run(plan).report
    assert (report.requested_budget, report.achieved_budget) == (None, pytest.approx(0.45, abs=0.01))


def test_a_network_that_takes_no_budgets_is_not_lowered():
    chain = Chain.of(Upscaler.from_pretrained("edsr-baseline-x2", Execution(threads=1)))
    assert planned(chain, picture(True), least_gain=1e3, floor=0.1).first.budget == 1


def test_cancelled_work_does_not_begin(upscaler: Upscaler):
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        work.prepare(Chain.of(upscaler), picture(True), METRICS, cancel)
