"""From scores to depths: the map of a mean depth, and the deepest map of a cost."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.graph.calibration import DepthFamily, PixelDepths, TileDepths, family_of, fit_cost
from adadsr.graph.depth import active_counts, dilate
from graph_samples import Array32, build

BLOCKS = 8
FAMILIES = [PixelDepths(BLOCKS), TileDepths(BLOCKS)]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
sizes = st.integers(1, 21)


def random_scores(seed: int, *shape: int, spread: float = 1.0) -> Array32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(spread)


def cost(depth_map: Array32) -> float:
    """Share of the positions of both convs of pixel masks that run."""
    both = active_counts(depth_map, BLOCKS) + active_counts(dilate(depth_map), BLOCKS)
    return float(both.sum()) / (2 * BLOCKS * depth_map.size)


@families
@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), target=st.floats(0.05, 1.0), spread=st.sampled_from([0.1, 1.0, 5.0]))
def test_a_cost_is_met_within_a_hundredth_and_never_exceeded(
    family: DepthFamily, seed: int, target: float, spread: float
) -> None:
    depth_map = fit_cost(family, random_scores(seed, 1, 20, 23, spread=spread), cost, target)
    assert target - 0.01 <= cost(depth_map) <= target
    np.testing.assert_array_equal(depth_map, np.ceil(depth_map))


@families
@pytest.mark.parametrize("target", [0.1, 0.33, 0.5, 0.77])
def test_a_flat_image_meets_a_cost_too(family: DepthFamily, target: float) -> None:
    depth_map = fit_cost(family, np.zeros((1, 40, 50), np.float32), cost, target)
    assert target - 0.01 <= cost(depth_map) <= target


@families
def test_equal_scores_go_deeper_in_raster_order(family: DepthFamily) -> None:
    depths = fit_cost(family, np.zeros((1, 40, 50), np.float32), cost, 0.5).ravel()
    assert (depths[:-1] >= depths[1:]).all()


@families
def test_more_than_everything_is_everything(family: DepthFamily) -> None:
    assert (fit_cost(family, random_scores(1, 1, 5, 5), cost, 1.0) >= BLOCKS).all()


@families
def test_deeper_positions_have_larger_scores(family: DepthFamily) -> None:
    scores = random_scores(2, 1, 20, 20)
    depths = fit_cost(family, scores, cost, 0.4).ravel()[scores.ravel().argsort()]
    assert (depths[:-1] <= depths[1:]).all()


@families
@given(seed=st.integers(0, 2**31), low=st.floats(0.05, 1.0), high=st.floats(0.05, 1.0))
@settings(max_examples=20)
def test_a_larger_budget_never_goes_less_deep(family: DepthFamily, seed: int, low: float, high: float) -> None:
    scores = random_scores(seed, 1, 9, 11)
    shallow, deep = (fit_cost(family, scores, cost, target) for target in sorted((low, high)))
    assert (shallow <= deep).all()


@families
@pytest.mark.parametrize("spread", [0.0, 2.0, 1e4])
def test_depths_do_not_fall_with_the_shift_and_its_bounds_are_the_ends(family: DepthFamily, spread: float) -> None:
    scores = random_scores(3, 2, 4, 5, spread=spread)
    low, high = family.shift_bounds(scores)
    assert (family.depths(scores, low) == 0).all()
    assert (family.depths(scores, high) >= BLOCKS).all()
    maps = [family.depths(scores, low + (high - low) * step / 9) for step in range(10)]
    assert all(depths.dtype == np.float32 for depths in maps)
    for lower, higher in pairwise(maps):
        assert (lower <= higher).all()


@settings(max_examples=40)
@given(
    height=sizes,
    width=sizes,
    groups=st.integers(1, 3),
    spread=st.sampled_from([0.01, 1.0, 8.0]),
    share=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**31),
)
def test_tile_depths_meet_the_desired_mean_of_each_image(
    height: int, width: int, groups: int, spread: float, share: float, seed: int
) -> None:
    depths = TileDepths(BLOCKS).at_depth(random_scores(seed, 2, groups, height, width, spread=spread), share * BLOCKS)
    assert ((depths >= 0) & (depths <= BLOCKS)).all()
    np.testing.assert_allclose(depths.mean(axis=(1, 2, 3)), share * BLOCKS, rtol=0, atol=1e-3)


def test_tile_depths_reach_both_ends() -> None:
    scores = random_scores(4, 1, 1, 6, 6)
    for desired in (0.0, float(BLOCKS)):
        np.testing.assert_allclose(TileDepths(BLOCKS).at_depth(scores, desired), desired, rtol=0, atol=1e-3)
    spread = TileDepths(BLOCKS).at_depth(scores * 8, BLOCKS / 2)
    assert (spread == 0).any()
    assert (spread == BLOCKS).any()


def test_pixel_depths_are_the_positive_scores() -> None:
    scores = random_scores(5, 1, 1, 6, 6)
    np.testing.assert_array_equal(PixelDepths(BLOCKS).at_depth(scores, 3.0), scores.clip(0))


@pytest.mark.parametrize(("depth_tile", "kind"), [(1, PixelDepths), (4, TileDepths)])
def test_the_family_of_an_adapter(depth_tile: int, kind: type) -> None:
    network = build("edsr", depth_tile)
    family = family_of(network.require_adapter(), network.n_blocks)
    assert isinstance(family, kind)
    assert family.n_blocks == network.n_blocks
