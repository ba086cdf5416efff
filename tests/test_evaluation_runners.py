"""One image at several targets: as calls of their own, but for head and adapter, which targets share."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adadsr.errors import CheckpointError, InputError
from adadsr.evaluation import EvaluationOptions
from adadsr.evaluation.benchmark import Pair
from adadsr.evaluation.records import Effort, Quality, combine
from adadsr.evaluation.runners import ORIENTATIONS, NetworkRunner, open_runners
from adadsr.networks import NetworkConfig
from adadsr.upscaler import Execution, Target, Upscaler
from evaluation_samples import ADAPTIVE, PLAIN, pixels, random_model, save_network

PIXELS = NetworkConfig("edsr", 2, n_feats=4, n_resblocks=4, adaptive=True)
RCAN = NetworkConfig("rcan", 2, n_feats=16, n_resblocks=2, n_groups=2, adaptive=True)
SQUARES = NetworkConfig("esrgan", 2, 4, 2, adaptive=True, depth_tile=4, growth=2, unshuffle=2, exits=True)
CONFIGS = (ADAPTIVE, PLAIN, PIXELS, RCAN, SQUARES)
TARGETS = (Target(budget=1), Target(budget=0.9), Target(depth=1), Target(budget=0.8), Target())
LR = pixels(13, 18)


def name_of(config):
    return f"{config.kind}-tile{config.depth_tile}"


def runner_of(config, *, self_ensemble=False, budgets=(), **execution):
    options = EvaluationOptions(
        ("One",), ("m",), 2, Path("out"), budgets=budgets, execution=Execution(**execution), self_ensemble=self_ensemble
    )
    return NetworkRunner(random_model(config), "m", options)


def pair_of(lr):
    return Pair(lr, np.zeros((2 * lr.shape[0], 2 * lr.shape[1], 3), np.uint8))


def targets_of(config):
    return TARGETS if config.adaptive else (Target(),)


@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_each_target_equals_a_call_of_its_own(config, tile):
    upscaler = Upscaler(random_model(config), Execution(tile=tile))
    targets = targets_of(config)
    for target, result in zip(targets, runner_of(config, tile=tile).run(pair_of(LR), targets), strict=True):
        expected = upscaler(LR, depth=target.depth, budget=target.budget)
        np.testing.assert_array_equal(result.sr, expected.image)
        np.testing.assert_array_equal(result.depth_map, expected.depth_map)
        assert result.effort.gmacs == expected.report.executed_gmacs
        assert result.effort.dense_gmacs == expected.report.dense_gmacs
        assert result.effort.mean_depth == expected.report.mean_depth
        assert result.effort.budget == pytest.approx(result.effort.gmacs / result.effort.dense_gmacs)


@pytest.mark.parametrize(
    ("config", "heads", "adapters"),
    [
        (ADAPTIVE, 1, 1),
        # An adapter that looks at the desired depth runs for each target that needs it.
        (PIXELS, 3, 3),
        (PLAIN, 0, 0),
    ],
    ids=["tiles", "pixels", "plain"],
)
def test_head_and_adapter_run_once_where_targets_can_share_them(config, heads, adapters, monkeypatch):
    runner, calls = runner_of(config), Counter()
    for name in ("features", "scores"):
        run = getattr(runner.engine, name)

        def counted(*given, name=name, run=run):
            calls[name] += 1
            return run(*given)

        monkeypatch.setattr(runner.engine, name, counted)
    targets = targets_of(config)
    full = sum(target.is_full(config.n_resblocks) for target in targets)
    assert len(list(runner.run(pair_of(LR), targets))) == len(targets)
    assert calls["features"] == heads + full
    assert calls["scores"] == adapters


def test_every_target_is_charged_for_the_shared_head_and_adapter(monkeypatch):
    """On a clock that only the adapter moves, every target that needs it takes as long."""
    clock = [0.0]
    monkeypatch.setattr("adadsr.evaluation.runners.time.perf_counter", lambda: clock[0])
    runner = runner_of(ADAPTIVE)
    scores = runner.engine.scores

    def slow(*given):
        clock[0] += 2
        return scores(*given)

    monkeypatch.setattr(runner.engine, "scores", slow)
    seconds = [result.effort.seconds for result in runner.run(pair_of(LR), TARGETS)]
    assert seconds == [0, 2, 2, 2, 0]


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_self_ensemble_averages_eight_orientations_in_floating_point(config):
    upscaler, expected = Upscaler(random_model(config)), np.zeros((26, 36, 3))
    for turns in range(4):
        for mirror in (False, True):
            turned = np.rot90(LR[:, ::-1] if mirror else LR, turns)
            planes = torch.from_numpy(turned.copy()).permute(2, 0, 1).float()  # a tensor's result is not rounded
            sr = np.rot90(upscaler(planes).image.permute(1, 2, 0).numpy(), -turns)
            expected += (sr[:, ::-1] if mirror else sr) / 8
    (result,) = runner_of(config, self_ensemble=True).run(pair_of(LR), [Target()])
    assert np.abs(result.sr - expected.clip(0, 255)).max() <= 0.5 + 1e-4
    assert result.depth_map.shape[1:] == LR.shape[:2]


@pytest.mark.parametrize("budget", [1, 0.8])
def test_self_ensemble_sums_costs_and_turns_depth_maps_back(budget):
    lr, target = pixels(16, 24), Target(budget=budget)
    (single,) = runner_of(ADAPTIVE).run(pair_of(lr), [target])
    (ensemble,) = runner_of(ADAPTIVE, self_ensemble=True).run(pair_of(lr), [target])
    assert ensemble.effort.dense_gmacs == pytest.approx(8 * single.effort.dense_gmacs)
    assert ensemble.effort.paper_dense_gflops == pytest.approx(8 * single.effort.paper_dense_gflops)
    assert ensemble.effort.budget == pytest.approx(budget, abs=0.01)
    maps = []
    for orientation in ORIENTATIONS:
        turned = np.ascontiguousarray(orientation.apply(lr))
        depth_map = Upscaler(random_model())(turned, budget=budget).depth_map
        maps.append(orientation.undo(depth_map.transpose(1, 2, 0)).transpose(2, 0, 1))
    np.testing.assert_allclose(ensemble.depth_map, np.mean(maps, axis=0), rtol=1e-6)


@given(image=arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))))
def test_orientations_are_different_and_undone_exactly(image):
    assert len(set(ORIENTATIONS)) == 8
    for orientation in ORIENTATIONS:
        np.testing.assert_array_equal(orientation.undo(orientation.apply(image)), image)
    marked = np.arange(6).reshape(2, 3)
    seen = {
        orientation.apply(marked).tobytes() + bytes(orientation.apply(marked).shape) for orientation in ORIENTATIONS
    }
    assert len(seen) == 8


def test_runs_that_half_precision_cannot_hold_are_counted():
    model = random_model()
    model.tensors["body.conv.weight"][...] *= 1e4
    options = EvaluationOptions(
        ("One",), ("m",), 2, Path("out"), execution=Execution(backend="torch", precision="float16"), self_ensemble=True
    )
    (result,) = NetworkRunner(model, "m", options).run(pair_of(LR), [Target()])
    assert result.effort.overflows == 8
    (result,) = runner_of(ADAPTIVE, backend="torch", precision="float16").run(pair_of(LR), [Target()])
    assert result.effort.overflows == 0


@given(
    st.lists(
        st.builds(Effort, *([st.floats(0, 1e3)] * 4), *([st.none() | st.floats(0, 1e3)] * 3), st.integers(0, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_combined_figures_are_sums_and_means(efforts):
    combined = combine(efforts)
    assert combined.seconds == pytest.approx(sum(each.seconds for each in efforts))
    assert combined.gmacs == pytest.approx(sum(each.gmacs for each in efforts))
    assert combined.mean_depth == pytest.approx(np.mean([each.mean_depth for each in efforts]))
    assert combined.overflows == sum(each.overflows for each in efforts)
    assert (combined.paper_depth is None) == any(each.paper_depth is None for each in efforts)
    assert combine([combined]) == combined


def test_a_figure_that_one_image_lacks_is_undefined():
    combined = combine([Quality(30.0, 0.5, 31.0), Quality(None, 1.0, 33.0)])
    assert combined == Quality(None, 0.75, 32.0)


def test_deeper_targets_take_longer_and_an_ensemble_eight_times_as_long():
    runner, ensemble = runner_of(ADAPTIVE), runner_of(ADAPTIVE, self_ensemble=True)
    weights = [runner.weight(Target(budget=budget)) for budget in (0.2, 0.5, 1)]
    assert all(low < high for low, high in pairwise(weights))
    assert ensemble.weight(Target()) == 8 * runner.weight(Target())


def test_models_that_cannot_be_opened(tmp_path):
    model = str(save_network(tmp_path / "tiny.safetensors"))

    def opened(*models, **others):
        return open_runners(
            EvaluationOptions(**{"datasets": ("One",), "models": models, "scale": 2, "out": tmp_path} | others)
        )

    with pytest.raises(CheckpointError, match="bicubi: not a bundled model"):
        opened("bicubi")
    with pytest.raises(InputError, match="is a model for x2; pass --scale 2"):
        opened(model, scale=3)
    with pytest.raises(InputError, match="tiny: depth=9"):
        opened(model, depths=(9,))
    (tmp_path / "again").mkdir()
    other = str(save_network(tmp_path / "again" / "tiny.safetensors", seed=1))
    assert [runner.model for runner in opened(model, other)] == [model, other]
