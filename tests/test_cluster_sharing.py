"""One budget for a collection: sketches, and what they decide."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="needs the extra `cluster`; .ci/run installs it")

from adadsr import Upscaler, images
from adadsr.cluster import decision, reporting, sampling, sharing
from adadsr.cluster.calibration import Samples
from adadsr.cluster.decision import GRID, USED, Sketches
from adadsr.cluster.sharing import SCHEMA, sketch_of
from adadsr.errors import BudgetError, InputError
from adadsr.upscaler import Chain, Execution, Target
from adadsr.upscaler.loading import load_chain
from upscaler_samples import CONFIGS, model_of, photo


@pytest.fixture(scope="module")
def chain() -> Chain:
    return load_chain("adaedsr-baseline-x2", None, Execution(threads=1))


def sketched(*rows: dict) -> Sketches:
    sketches = Sketches()
    named = [{"unit": 0, "name": str(at), "macs_per_second": 1e9} | row for at, row in enumerate(rows)]
    sketches.add(pa.Table.from_pylist(named, schema=SCHEMA))
    return sketches


def row_of(seed: int) -> dict:
    """An image whose cost falls from its dense one, and whose error grows."""
    random = np.random.default_rng(seed)
    steps = random.random(len(GRID))
    fall = np.concatenate([[0], steps.cumsum() / steps.sum()])[: len(GRID)]
    dense = random.uniform(1e9, 1e11)
    grows = random.random(len(GRID)).cumsum() * dense / 1e9
    return {
        "macs": dense * (1 - 0.7 * fall),
        "lost": grows - grows[0],
        "full_error": dense,
        "dense_macs": dense,
        "pixels": dense / 1e5,
        "texture": random.uniform(0.1, 500),
        "parts": int(random.integers(0, 4)),
        "change": random.uniform(0.001, 0.2),
    }


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.floats(0.35, 1))
def test_a_shared_budget_is_spent_and_a_larger_one_loses_less(seeds, budget):
    sketches = sketched(*map(row_of, seeds))
    decision = sketches.for_target(Target(budget=budget))
    assert decision.budget <= budget + 1e-6
    spent = sum(sketches.macs(name, decision.least_gain / factor) for name, factor in sketches.factors.items())
    dense = sum(row_of(seed)["dense_macs"] for seed in seeds)
    assert decision.least_gain == 0 or spent / dense == pytest.approx(decision.budget, abs=1e-2)
    assert sketches.for_target(Target(budget=1.0)).least_gain == 0
    more = sketches.for_target(Target(budget=min(1.0, budget + 0.1)))
    assert more.predicted_loss <= decision.predicted_loss + 1e-9


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.floats(0, 0.5))
def test_a_shared_loss_is_kept(seeds, most):
    decision = sketched(*map(row_of, seeds)).for_target(Target(max_loss=most))
    assert decision.predicted_loss <= most + 1e-6


def measured(seed: int, count: int) -> Samples:
    """Of pictures whose loss follows their texture, with parts for half of them."""
    random = np.random.default_rng(seed)
    texture = random.uniform(1, 1000, count)
    change = 0.02 * (texture / 100) ** 0.3 * random.uniform(0.9, 1.1, count)
    return Samples(
        texture, random.integers(0, 2, count) * 4.0, change, random.uniform(1, 10, count), np.full(count, 5.0)
    )


@given(st.integers(0, 10**6))
def test_factors_make_predictions_follow_what_was_measured(seed):
    given = measured(seed, 40)
    lost = given.factors() * given.predicted
    assert lost.sum() == pytest.approx(given.predicted.sum())
    expected = given.change * given.texture
    assert lost / lost.sum() == pytest.approx(expected / expected.sum(), rel=0.5)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_without_parts_predictions_stay(seed, count):
    given = replace(measured(seed, count), parts=np.zeros(count))
    assert (given.factors() == 1).all()


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=8))
def test_factors_are_finite_for_any_picture(values):
    each = np.array(values)
    factors = Samples(each, each.round(), each / 1e5, each[::-1].copy(), np.ones(len(each))).factors()
    assert np.isfinite(factors).all()
    assert (factors > 0).all()


def test_parts_measure_what_depth_changes(chain, monkeypatch):
    """With as many parts as the picture has room for, their mean is that of the whole, but for their borders."""
    monkeypatch.setattr(sampling, "SHARE", 4.0)
    monkeypatch.setattr(sampling, "MOST_PARTS", 1000)
    pixels = photo(96, 128) // 2 + np.random.default_rng(0).integers(0, 100, (96, 128, 1), np.uint8)
    picture = images.Picture(pixels.astype(np.uint16) * 257)
    prepared, upscaler = chain.prepare(picture), chain.first
    plan = prepared.plan(budget=0.4)
    sample = sampling.sampled(upscaler, picture, plan.first.depth_map, 4)
    full, shallow = (sampling._luma(prepared.run(each).picture.pixels) for each in (prepared.plan(), plan))
    assert sample.parts == 192
    assert sample.change * sample.texture == pytest.approx(np.square(full - shallow).mean(), rel=0.3)
    assert sampling.sampled(upscaler, picture, plan.first.depth_map, 4) == sample


@pytest.mark.parametrize("shape", [(15, 100, 3), (64, 64, 3), (40, 40, 1), (40, 40, 4)])
def test_pictures_that_are_small_flat_gray_or_transparent_have_samples(chain, monkeypatch, shape):
    monkeypatch.setattr(sampling, "SHARE", 1.0)
    pixels = np.full(shape, 77, np.uint8)
    if shape[2] != 3:
        pixels[10:] = 200
    row = sketch_of(chain, images.picture_from_array(pixels), 0.5)
    assert (row["parts"] > 0) == (shape[0] == 40)
    assert np.isfinite(row["change"])


def test_what_cannot_be_met_says_what_can():
    sketches = sketched(row_of(1))
    with pytest.raises(BudgetError, match=r"budget=0.2 is too small: .* on this collection; use at least 0\.3"):
        sketches.for_target(Target(budget=0.2))
    with pytest.raises(InputError, match="are too few for 2 workers: with the 0 s of start"):
        sketches.for_hours(1e-6, 2)
    with pytest.raises(InputError, match="no image of the collection can be read"):
        Sketches().for_target(Target(budget=0.5))
    assert sketches.for_hours(1e6, 2).least_gain == 0


def test_hours_buy_what_the_measured_speed_gives():
    row = row_of(3)
    sketches = sketched(row)
    seconds = 0.6 * row["dense_macs"] / 1e9  # at 1e9 a second
    decision = sketches.for_hours(seconds / 3600 / USED / 4, 4)
    assert decision.budget == pytest.approx(0.6, abs=1e-3)
    later = sketches.for_hours((seconds / USED / 4 + 50) / 3600, 4, 50.0)
    assert later.budget == pytest.approx(decision.budget)


def test_a_network_that_predicts_no_losses_shares_a_budget_without_a_figure():
    """One with exits."""
    config = replace(CONFIGS["adaesrgan-tiles"], n_resblocks=2)
    chain = Chain.of(Upscaler(model_of(config), Execution(threads=1)))
    row = sketch_of(chain, images.picture_from_array(photo(32, 32)), 0.8)
    assert row["full_error"] is None
    found = sketched(row, row).for_target(Target(budget=0.8))
    assert (found.predicted_loss, found.equal_loss) == (None, None)
    assert 0 < found.budget <= 0.8
    (told,) = reporting._shared_told(found.as_json())
    assert told.startswith("blocks run where they gain at least ")


def test_units_cost_what_their_images_do():
    sketches = sketched(row_of(1), row_of(2), row_of(3))
    curves = sketches.unit_curves([["0", "2"], ["1"], ["unknown"]])
    for at, gain in list(enumerate(GRID))[::8]:
        each = [sketches.macs(name, gain / factor) for name, factor in sketches.factors.items()]
        assert curves[:, at] == pytest.approx([each[0] + each[2], each[1], 0], rel=1e-5)


def test_a_sketch_tells_what_a_plan_will_cost_and_lose(chain):
    """Within a hundredth of the full cost, from a sample and between points of the grid."""
    prepared = chain.prepare(images.picture_from_array(photo(96, 128)))
    row, dense = sketch_of(chain, prepared._picture, 0.5), prepared.plan().first.dense_cost.total
    assert row["dense_macs"] == dense
    for at in range(0, len(GRID), 4):
        plan = prepared.plan(least_gain=float(GRID[at]))
        assert row["macs"][at] / dense == pytest.approx(plan.first.cost.total / dense, abs=0.01)
        predicted = 10 * np.log10(1 + row["lost"][at] / row["full_error"])
        assert predicted == pytest.approx(plan.first.predicted_loss, abs=0.02)


@pytest.mark.parametrize("count", [41, 401])
def test_a_collection_loses_no_more_than_with_the_same_budget_for_each(chain, count, monkeypatch):
    """But for what sketches of 41 least gains interpolate."""
    grid = np.geomspace(GRID[0], GRID[-1], count).astype(np.float32)
    for module in (sharing, decision):
        monkeypatch.setattr(module, "GRID", grid)
    pictures = [photo(48, 64), np.full((48, 64, 3), 128, np.uint8), photo(64, 48, seed=2)]
    rows = [sketch_of(chain, images.picture_from_array(picture), 0.5) for picture in pictures]
    decided = sketched(*rows).for_target(Target(budget=0.5))
    assert decided.equal_loss is not None
    assert decided.predicted_loss <= decided.equal_loss * (1.01 if count == len(GRID) else 1) + 1e-6
