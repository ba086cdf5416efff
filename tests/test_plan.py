"""Prepare, plan, run: what a plan promises, what it costs to make one, and that a run keeps it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr import Execution, Upscaler
from adadsr.errors import InputError
from adadsr.graph.calibration import TOLERANCE
from adadsr.graph.depth import expand_tiles
from adadsr.upscaler.plan import least_budget
from engine_samples import AVAILABLE
from upscaler_samples import BLOCKS, CONFIGS, DEEP, model_of, photo, spied, tensor_photo

every_network = pytest.mark.parametrize("name", CONFIGS)
TILES = [name for name, config in CONFIGS.items() if config.depth_tile > 1]
PREDICTING = [name for name in TILES if not CONFIGS[name].exits]
"""Those that predict losses."""
every_cut = pytest.mark.parametrize("tile", [None, 16])
SPARSE = [name for name in AVAILABLE if name != "dense"]
REQUESTS = [{}, {"depth": 1.5}, {"budget": 0.9}]


def upscaler_of(name, tile=None, **execution):
    return spied(Upscaler(model_of(CONFIGS[name]), Execution(tile=tile, **execution)))


@every_network
@every_cut
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_plan_runs_no_body_and_no_tail(name, tile, request_):
    upscaler, spy = upscaler_of(name, tile)
    prepared = upscaler.prepare(photo(40, 33))
    prepared.plan(**request_)
    assert {"body", "tail"}.isdisjoint(spy.calls)


@every_network
@every_cut
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_plan_costs_what_runs(name, tile, request_):
    """Part by part, the overlap of tiles and of the tail's bands included."""
    upscaler, spy = upscaler_of(name, tile)
    report = upscaler(photo(40, 33), **request_).report
    parts = {part: getattr(spy.cost, part) / 1e9 for part in ("head", "adapter", "body", "tail")}
    assert report.parts == parts
    assert report.executed_gmacs == spy.cost.total / 1e9
    assert (report.parts["adapter"] > 0) == bool(request_)


@every_network
@every_cut
def test_a_second_budget_costs_no_second_head(name, tile):
    """And no second adapter, where its scores do not depend on the desired depth."""
    upscaler, spy = upscaler_of(name, tile)
    uses_depth = upscaler.engine.network.adapter.uses_depth
    prepared = upscaler.prepare(photo(40, 33))
    if uses_depth:  # which scores are needed is not known yet
        assert spy.count("scores") == 0
        prepared.plan(budget=0.9)
    heads, adapters = spy.count("features"), spy.count("scores")
    assert heads == adapters == (1 if tile is None else len(prepared.plan(budget=0.9).layout.scored))
    plans = [prepared.plan(budget=budget) for budget in (0.7, 0.8, 0.9)] + [prepared.plan(depth=2.0)]
    assert spy.count("scores") == adapters * (4 if uses_depth else 1)
    assert prepared.plan(budget=0.7).cost == plans[0].cost
    assert spy.count("scores") == adapters * (4 if uses_depth else 1)
    if not uses_depth:
        assert (spy.count("features"), spy.count("scores")) == (heads, adapters)
    if tile is None:
        for plan in plans:
            prepared.run(plan)
        assert spy.count("features") == 1
        assert spy.count("body") == len(plans)


@every_network
@pytest.mark.parametrize("request_", REQUESTS)
def test_three_steps_are_one_call(name, request_):
    upscaler, image = Upscaler(model_of(CONFIGS[name])), photo(30, 27)
    prepared = upscaler.prepare(image)
    plan = prepared.plan(**request_)
    by_steps, at_once = prepared.run(plan), upscaler(image, **request_)
    np.testing.assert_array_equal(by_steps.image, at_once.image)
    np.testing.assert_array_equal(by_steps.depth_map, at_once.depth_map)
    assert replace(by_steps.report, seconds=0) == replace(at_once.report, seconds=0)


@every_network
@every_cut
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_report_says_what_was_planned(name, tile, request_):
    upscaler = Upscaler(model_of(CONFIGS[name]), Execution(tile=tile), name="mine")
    prepared = upscaler.prepare(photo(40, 33))
    plan = prepared.plan(**request_)
    report = prepared.run(plan).report
    assert prepared.size == report.input_size == (33, 40)
    assert report.output_size == (66, 80)
    assert (report.model, report.backend, report.device, report.scale) == ("mine", upscaler.engine.backend, "cpu", 2)
    assert report.variant == upscaler.engine.variant
    assert (report.requested_depth, report.requested_budget) == (request_.get("depth"), request_.get("budget"))
    assert (report.requested_precision, report.precision) == ("float32", "float32")
    assert (report.tiles, report.exact, report.memory_bytes) == (len(plan.tiles), plan.exact, plan.bytes)
    assert (report.achieved_budget, report.mean_depth) == (plan.budget, plan.mean_depth)
    assert report.executed_gmacs == plan.cost.total / 1e9
    assert report.dense_gmacs == plan.dense_cost.total / 1e9
    assert sum(report.parts.values()) == pytest.approx(report.executed_gmacs)
    assert report.seconds > 0


@every_network
@settings(max_examples=8)
@given(seed=st.integers(0, 99), height=st.integers(9, 40), width=st.integers(9, 40), data=st.data())
def test_a_larger_budget_never_costs_less(name, seed, height, width, data):
    upscaler = Upscaler(model_of(CONFIGS[name]))
    prepared = upscaler.prepare(photo(height, width, seed))
    small = data.draw(st.floats(least_budget(upscaler.engine.network, prepared.plan().layout.frame), 1))
    large = data.draw(st.floats(small, 1))
    less, more = (prepared.plan(budget=budget) for budget in (small, large))
    if upscaler.engine.network.adapter.uses_depth:  # other scores for another budget
        assert more.cost.total >= less.cost.total - TOLERANCE * less.dense_cost.total
    else:
        assert more.cost.total >= less.cost.total
        assert more.depth_map is None or (more.depth_map >= less.depth_map).all()
    assert less.budget <= small
    assert more.budget <= large


@settings(max_examples=12)
@given(budget=st.floats(0.3, 1.0), height=st.integers(20, 60), width=st.integers(20, 60), seed=st.integers(0, 99))
def test_a_budget_is_met_within_a_hundredth(budget, height, width, seed):
    report = Upscaler(model_of(DEEP))(photo(height, width, seed), budget=budget).report
    # One tile more or less is the finest step there is: 16 pixels through two convs of one block.
    step = 2 * 16 / (2 * 32 * height * width)
    assert abs(report.achieved_budget - budget) <= 0.01 + step
    assert report.executed_gmacs / report.dense_gmacs == pytest.approx(report.achieved_budget)


@pytest.mark.parametrize("value", [0, 128])
def test_a_budget_is_met_on_a_flat_image(value):
    report = Upscaler(model_of(DEEP))(np.full((48, 52, 3), value, np.uint8), budget=0.5).report
    assert report.achieved_budget == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("value", [None, 128])
def test_a_budget_pays_for_whole_blocks(value):
    image = photo(48, 52) if value is None else np.full((48, 52, 3), value, np.uint8)
    depth_map = Upscaler(model_of(DEEP)).prepare(image).plan(budget=0.53).depth_map
    np.testing.assert_array_equal(depth_map, np.round(depth_map))


@pytest.mark.parametrize("name", TILES)
@given(depth=st.floats(0, BLOCKS), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_the_mean_depth_is_the_desired_one(name, depth, seed):
    plan = Upscaler(model_of(CONFIGS[name])).prepare(photo(24, 21, seed)).plan(depth=depth)
    if depth == BLOCKS:
        assert plan.depth_map is None
    else:
        assert depth - 1 / plan.depth_map[0].size - 1e-6 <= plan.mean_depth <= depth  # blocks run whole


def test_a_budget_below_the_fixed_parts_names_the_least():
    prepared = Upscaler(model_of(DEEP)).prepare(photo(40, 40))
    with pytest.raises(InputError, match="use at least") as error:
        prepared.plan(budget=0.01)
    least = float(str(error.value).rsplit(" ", 1)[1])
    assert prepared.plan(budget=least).mean_depth == pytest.approx(0, abs=0.1)


@every_network
@every_cut
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_a_map_of_the_user_is_what_runs(name, tile, seed):
    upscaler, spy = upscaler_of(name, tile)
    network = upscaler.engine.network
    given_map = np.random.default_rng(seed).uniform(0, BLOCKS + 1, network.map_shape(40, 33)).astype(np.float32)
    result = upscaler(photo(40, 33), depth_map=given_map)
    expected = expand_tiles(given_map.clip(0, BLOCKS), network.depth_tile, 40, 33)
    np.testing.assert_array_equal(result.depth_map, expected)
    assert spy.count("scores") == 0
    assert (result.report.requested_depth, result.report.requested_budget) == (None, None)
    assert result.report.mean_depth == pytest.approx(float(expected.mean()), abs=0.3)
    if tile is None:
        framed = upscaler.prepare(photo(40, 33)).plan().layout.frame.extended_map(given_map, network.depth_tile)
        np.testing.assert_array_equal(spy.depth_maps[0][0], framed)
    assert spy.cost.body == round(result.report.parts["body"] * 1e9)


def test_a_plan_s_own_map_gives_the_same_result():
    """So that a plan may be kept, changed, and sent elsewhere."""
    prepared = Upscaler(model_of(CONFIGS["adaedsr-tiles"])).prepare(photo(40, 33))
    plan = prepared.plan(budget=0.8)
    again = prepared.plan(depth_map=plan.depth_map.astype(np.float64))
    np.testing.assert_array_equal(prepared.run(plan).image, prepared.run(again).image)


def test_a_plan_stays_as_it_is_when_the_users_map_changes():
    prepared = Upscaler(model_of(CONFIGS["adaedsr-tiles"])).prepare(photo(20, 20))
    given = np.ones((1, 5, 5), np.float32)
    plan = prepared.plan(depth_map=given)
    given += 1
    assert plan.mean_depth == 1
    assert (prepared.run(plan).depth_map == 1).all()


def test_maps_that_do_not_fit_are_refused():
    prepared = Upscaler(model_of(CONFIGS["adaedsr-tiles"])).prepare(photo(20, 20))
    good = np.ones((1, 5, 5), np.float32)
    for bad in (good[0], good[:, :4], np.ones((1, 20, 20)), good > 0):
        with pytest.raises(InputError, match=r"depth_map has shape .*; pass"):
            prepared.plan(depth_map=bad)
    for bad in (np.nan, -1, np.inf, np.float64(1e39)):
        with pytest.raises(InputError, match=r"depth_map has a depth of (nan|-1|inf); pass"):
            prepared.plan(depth_map=np.where(np.arange(5) == 2, bad, good))
    with pytest.raises(InputError, match="pass only one of them"):
        prepared.plan(budget=0.5, depth_map=good)
    assert prepared.plan(depth_map=good.astype(np.int64)).mean_depth == 1


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"depth": -1.0}, r"depth=-1 must be a finite number of residual blocks"),
        ({"depth": 4.5}, r"depth=4\.5 is outside 0\.\.4"),
        ({"depth": float("nan")}, r"depth=nan must be a finite number of residual blocks"),
        ({"budget": 0.0}, r"budget=0 is outside \(0, 1\]"),
        ({"budget": 1.5}, r"budget=1\.5 is outside \(0, 1\]"),
        ({"budget": float("nan")}, r"budget=nan is outside \(0, 1\]"),
        ({"depth": 1.0, "budget": 0.5}, "depth=1 and budget=0.5: pass only one of them"),
        ({"max_loss": 0.1, "budget": 0.5}, "budget=0.5 and max_loss=0.1: pass only one"),
        ({"max_loss": -0.1}, r"max_loss=-0.1 must be a finite number of dB, at least 0"),
        ({"max_loss": float("nan")}, r"max_loss=nan must be a finite number of dB"),
        ({"max_loss": 0.1}, "the adapter of adaedsr does not predict losses; pass budget instead"),
    ],
)
def test_impossible_requests_are_refused(request_, message):
    upscaler = Upscaler(model_of(CONFIGS["adaedsr"]))
    with pytest.raises(InputError, match=message):
        upscaler(photo(8, 8), **request_)
    with pytest.raises(InputError, match=message):
        upscaler.prepare(photo(8, 8)).plan(**request_)


def test_a_plain_network_runs_at_full_depth_only():
    upscaler, spy = spied(Upscaler(model_of(replace(CONFIGS["adaedsr"], adaptive=False))))
    prepared = upscaler.prepare(photo(8, 8))
    assert not spy.calls  # nothing to score
    for request_ in ({}, {"budget": 1.0}, {"depth": BLOCKS}):
        assert prepared.plan(**request_).depth_map is None
    for name, value in (("budget", 0.5), ("depth", 1), ("max_loss", 1)):
        said = f"{name}={value}: edsr has no adapter, so it runs at full depth only; drop {name}, or choose an adaptive"
        with pytest.raises(InputError, match=said):
            prepared.plan(**{name: value})


def test_a_request_that_a_network_cannot_meet_names_both():
    dense = Upscaler(model_of(replace(CONFIGS["adaedsr"], adaptive=False)), name="mine-x2")
    with pytest.raises(InputError, match=r"^max_loss=0.1: mine-x2 has no adapter"):
        dense(photo(8, 8), max_loss=0.1)
    with pytest.raises(InputError, match=r"^seconds=2: mine-x2 has no adapter"):
        dense(photo(8, 8), seconds=2)
    published = Upscaler(model_of(CONFIGS["adaedsr"]), name="mine-x2")
    with pytest.raises(InputError, match=r"^max_loss=0.1: the adapter of mine-x2 does not predict losses; pass budget"):
        published.prepare(photo(8, 8)).plan(max_loss=0.1)


def test_a_plan_of_another_image_is_refused():
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]))
    prepared, wider = (upscaler.prepare(photo(20, width)) for width in (20, 24))
    other = Upscaler(model_of(CONFIGS["adaedsr-tiles"])).prepare(photo(20, 20))
    for plan in (wider.plan(), other.plan()):
        with pytest.raises(InputError, match="another size, transparency or network"):
            prepared.run(plan)


@pytest.mark.parametrize("backend", SPARSE)
@every_cut
@pytest.mark.parametrize("request_", REQUESTS)
def test_progress_rises_and_ends_at_one(backend, tile, request_):
    upscaler = Upscaler(model_of(CONFIGS["adaedsr"]), Execution(backend=backend, tile=tile))
    shares = []
    report = upscaler(photo(40, 33), **request_, progress=shares.append).report
    assert len(shares) > report.tiles
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("name", ["adaedsr", "adaedsr-tiles"])
@pytest.mark.parametrize("request_", [{}, {"depth": 2.2}, {"budget": 0.9}])
def test_tiles_give_the_whole_image(name, request_):
    model, image = model_of(CONFIGS[name]), tensor_photo(61, 47)
    whole, tiled = (Upscaler(model, Execution(tile=tile))(image, **request_) for tile in (None, 16))
    assert (whole.report.tiles, tiled.report.tiles) == (1, 12)
    assert tiled.report.exact
    np.testing.assert_allclose(tiled.image, whole.image, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(tiled.depth_map, whole.depth_map)
    assert tiled.report.achieved_budget == whole.report.achieved_budget


@pytest.mark.parametrize("tile", [24, 28, 31])
@pytest.mark.parametrize("backend", SPARSE)
def test_an_image_may_be_scored_whole_and_run_in_tiles(tile, backend):
    model, image = model_of(CONFIGS["adaedsr"]), tensor_photo(31, 31)
    whole, tiled = (Upscaler(model, Execution(backend=backend, tile=side))(image, budget=0.9) for side in (None, tile))
    assert tiled.report.tiles == (1 if tile == 31 else 4)
    np.testing.assert_allclose(tiled.image, whole.image, rtol=0, atol=1e-3)


def test_tiles_of_attention_say_that_they_are_not_exact():
    plan = Upscaler(model_of(CONFIGS["adarcan"]), Execution(tile=20)).prepare(photo(61, 47)).plan()
    assert len(plan.tiles) == 12
    assert not plan.exact


def test_tiles_change_neither_the_budget_nor_much_of_the_ratio_of_costs():
    upscaler = Upscaler(model_of(replace(DEEP, n_resblocks=6)), Execution(tile=60))
    plan = upscaler.prepare(photo(200, 150)).plan(budget=0.6)
    assert len(plan.tiles) == 12
    assert plan.budget == pytest.approx(0.6, abs=0.01)
    assert plan.cost.total / plan.dense_cost.total == pytest.approx(0.6, abs=0.06)


def test_bands_of_the_tail_give_the_same_as_the_whole(monkeypatch):
    upscaler, image = Upscaler(model_of(CONFIGS["adaedsr-tiles"])), tensor_photo(50, 40)
    whole = upscaler(image)
    for module in ("adadsr.upscaler.plan", "adadsr.backends.native.engine", "adadsr.backends.portable.engine"):
        monkeypatch.setattr(f"{module}.band_rows", lambda width: 8)
    bands = upscaler(image)
    np.testing.assert_allclose(bands.image, whole.image, rtol=0, atol=1e-3)
    assert bands.report.parts["tail"] > whole.report.parts["tail"]


def test_a_budget_prices_the_whole_image_whatever_the_tiles():
    model, image = model_of(DEEP), photo(64, 64)
    maps = [Upscaler(model, Execution(tile=tile)).prepare(image).plan(budget=0.6).depth_map for tile in (None, 24, 40)]
    for depth_map in maps[1:]:
        np.testing.assert_array_equal(depth_map, maps[0])


@pytest.mark.parametrize("name", PREDICTING)
@given(seed=st.integers(0, 99), losses=st.tuples(st.floats(0, 4), st.floats(0, 4)))
@settings(max_examples=8)
def test_a_larger_loss_never_goes_deeper_and_is_kept(name, seed, losses):
    prepared = Upscaler(model_of(CONFIGS[name])).prepare(photo(40, 33, seed))
    strict, loose = (prepared.plan(max_loss=loss) for loss in sorted(losses))
    assert strict.predicted_loss <= min(losses)
    assert loose.predicted_loss <= max(losses)
    if loose.depth_map is not None and strict.depth_map is not None:
        assert (loose.depth_map <= strict.depth_map).all()


@pytest.mark.parametrize("name", PREDICTING)
def test_less_budget_is_predicted_to_lose_more(name):
    # Without tiles of one colour, which get their depth together: then fewer losses can be met closely.
    noise = np.random.default_rng(0).integers(0, 256, (40, 33, 3), np.uint8)
    prepared = Upscaler(model_of(CONFIGS[name])).prepare(noise)
    losses = [prepared.plan(budget=budget).predicted_loss for budget in (1.0, 0.9, 0.8, 0.7)]
    assert losses[0] == 0
    assert losses == sorted(losses)
    assert prepared.plan(max_loss=0).depth_map is None
    report = prepared.run(prepared.plan(max_loss=losses[2])).report
    assert report.requested_max_loss == losses[2]
    assert report.predicted_loss == pytest.approx(losses[2], rel=0.2)


def test_published_adapters_and_given_maps_predict_no_loss():
    prepared = Upscaler(model_of(CONFIGS["adaedsr"])).prepare(photo(20, 20))
    assert prepared.plan(budget=0.9).predicted_loss is None
    prepared = Upscaler(model_of(CONFIGS["adaedsr-tiles"])).prepare(photo(20, 20))
    assert prepared.plan(depth_map=np.ones((1, 5, 5), np.float32)).predicted_loss is None
