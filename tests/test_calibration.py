"""From scores to depths: the map of a mean depth, and the deepest map of a cost."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adadsr.graph import calibration
from adadsr.graph.calibration import (
    COLOR_ERROR,
    COLOR_GAIN,
    COLOR_RANGE,
    FLAT_GAIN,
    DepthFamily,
    ErrorDepths,
    PixelDepths,
    color_scores,
    family_of,
    fit_cost,
    fit_loss,
    keep_colors,
    neighbour_blocks,
)
from adadsr.graph.depth import active_counts, dilate
from graph_samples import KINDS, Array32, build

BLOCKS = 8
Make: TypeAlias = Callable[..., DepthFamily]


def random_scores(seed: int, *shape: int, spread: float = 1.0) -> Array32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(spread)


def pixels(seed: int, height: int, width: int, spread: float = 1.0) -> PixelDepths:
    return PixelDepths(random_scores(seed, 1, height, width, spread=spread), BLOCKS)


def errors(seed: int, height: int, width: int, spread: float = 1.0) -> ErrorDepths:
    return ErrorDepths(random_scores(seed, BLOCKS + 1, height, width, spread=spread), 1)


families = pytest.mark.parametrize("make", [pixels, errors])
sizes = st.integers(1, 21)


def cost(depth_map: Array32) -> float:
    """Share of the positions of both convs of pixel masks that run."""
    both = active_counts(depth_map, BLOCKS) + active_counts(dilate(depth_map), BLOCKS)
    return float(both.sum()) / (2 * BLOCKS * depth_map.size)


@families
@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), target=st.floats(0.05, 1.0), spread=st.sampled_from([0.1, 1.0, 5.0]))
def test_a_cost_is_met_within_a_hundredth_and_never_exceeded(
    make: Make, seed: int, target: float, spread: float
) -> None:
    depth_map = fit_cost(make(seed, 20, 23, spread), cost, target)
    assert target - 0.01 <= cost(depth_map) <= target
    np.testing.assert_array_equal(depth_map, np.ceil(depth_map))


@families
@pytest.mark.parametrize("target", [0.1, 0.33, 0.5, 0.77])
def test_a_flat_image_meets_a_cost_too(make: Make, target: float) -> None:
    depth_map = fit_cost(make(0, 40, 50, 0.0), cost, target)
    assert target - 0.01 <= cost(depth_map) <= target


@families
def test_equal_scores_go_deeper_in_raster_order(make: Make) -> None:
    depths = fit_cost(make(0, 40, 50, 0.0), cost, 0.5).ravel()
    assert (depths[:-1] >= depths[1:]).all()


@families
def test_more_than_everything_is_everything(make: Make) -> None:
    assert (fit_cost(make(1, 5, 5), cost, 1.0) >= BLOCKS).all()


def test_deeper_positions_have_larger_scores() -> None:
    depths = fit_cost(pixels(2, 20, 20), cost, 0.4).ravel()[random_scores(2, 1, 20, 20).ravel().argsort()]
    assert (depths[:-1] <= depths[1:]).all()


@families
@given(seed=st.integers(0, 2**31), low=st.floats(0.05, 1.0), high=st.floats(0.05, 1.0))
@settings(max_examples=20)
def test_a_larger_budget_never_goes_less_deep(make: Make, seed: int, low: float, high: float) -> None:
    shallow, deep = (fit_cost(make(seed, 9, 11), cost, target) for target in sorted((low, high)))
    assert (shallow <= deep).all()


@families
@pytest.mark.parametrize("spread", [0.0, 2.0, 1e4])
def test_depths_do_not_fall_with_the_shift_and_its_bounds_are_the_ends(make: Make, spread: float) -> None:
    family = make(3, 4, 5, spread)
    low, high = family.shift_bounds()
    assert (family.depths(low) == 0).all()
    assert (family.depths(high) >= BLOCKS).all()
    maps = [family.depths(low + (high - low) * step / 9) for step in range(10)]
    assert all(depths.dtype == np.float32 for depths in maps)
    for lower, higher in pairwise(maps):
        assert (lower <= higher).all()


def test_pixel_depths_are_the_positive_scores() -> None:
    np.testing.assert_array_equal(pixels(5, 6, 6).at_depth(3.0), random_scores(5, 1, 6, 6).clip(0))
    assert pixels(5, 6, 6).predicted_loss(np.zeros((1, 6, 6))) is None


def predicted(scores: Array32) -> npt.NDArray[np.float64]:
    """Errors after 0 .. B blocks, (B + 1, h, w), by the formula."""
    r = scores.astype(np.float64)
    depths = np.arange(len(r))
    hinges = (depths[None, 1:] - depths[:, None]).clip(0)  # (B + 1, B)
    return np.exp(r[0]) * (1 + np.tensordot(hinges, np.log1p(np.exp(r[1:])), axes=1))


@settings(max_examples=40)
@given(height=sizes, width=sizes, groups=st.integers(1, 3), share=st.floats(0.02, 0.98), seed=st.integers(0, 2**31))
def test_error_depths_meet_the_desired_mean(height: int, width: int, groups: int, share: float, seed: int) -> None:
    depths = ErrorDepths(random_scores(seed, BLOCKS + 1, height, width), groups).at_depth(share * BLOCKS)
    assert depths.shape == (groups, height, width)
    assert (depths == depths[:1]).all()
    missing = share * BLOCKS - float(depths.mean())
    assert -1e-6 <= missing <= 1 / (height * width) + 1e-6


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), target=st.floats(0.05, 0.95), number=st.integers(0, 2**31))
def test_no_other_map_of_the_same_mean_depth_has_a_lower_predicted_error(seed: int, target: float, number: int) -> None:
    """Unless tiles are raised for the sake of their neighbours."""
    scores = random_scores(seed, BLOCKS + 1, 5, 7, spread=2.0)
    scores[0] += 8  # no tile is flat
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "NEIGHBOUR_SHARE", 1.0)
        depths = ErrorDepths(scores, 1).at_depth(target * BLOCKS)[0].astype(int)
    rng = np.random.default_rng(number)
    other = depths.copy().ravel()
    for _ in range(20):  # move blocks from tile to tile
        giver, taker = rng.integers(other.size, size=2)
        if giver != taker and other[giver] > 0 and other[taker] < BLOCKS:
            other[giver], other[taker] = other[giver] - 1, other[taker] + 1
    left = predicted(scores)
    ours, theirs = (np.take_along_axis(left, each.reshape(1, 5, 7), 0).sum() for each in (depths, other))
    assert ours <= theirs * (1 + 1e-5)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), most=st.floats(0.0, 3.0))
def test_a_predicted_loss_is_met_at_the_least_depth(seed: int, most: float) -> None:
    scores = random_scores(seed, BLOCKS + 1, 6, 8)
    family, left = ErrorDepths(scores, 1), predicted(scores)
    depths = fit_loss(family, most)

    def loss(depth_map: Array32) -> float:
        error = np.take_along_axis(left, depth_map.astype(int), 0).sum()
        return float(10 * np.log10(error / left[-1].sum()))

    assert family.predicted_loss(depths) == pytest.approx(loss(depths), abs=1e-4)
    assert loss(depths) <= most + 1e-4
    shallower = family.at_depth(float(depths.mean()) - 1.5 / depths.size)
    if depths.any() and (shallower != depths).any():
        assert loss(shallower) > most - 1e-4


def test_scores_out_of_range_give_finite_predictions() -> None:
    for value in (-1e4, 1e4):
        family = ErrorDepths(np.full((BLOCKS + 1, 3, 3), value, np.float32), 1)
        assert np.isfinite(family.shift_bounds()).all()
        assert 18 - BLOCKS < family.at_depth(2.0).sum() <= 18


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_the_family_of_an_adapter(backbone: str, depth_tile: int) -> None:
    """Published adapters give a depth for each group; those of tiles an error for each depth, 0 included."""
    network = build(backbone, depth_tile)
    kind, n_scores = (PixelDepths, network.n_groups) if depth_tile == 1 else (ErrorDepths, network.n_blocks + 1)
    assert network.require_adapter().n_scores == n_scores
    family = family_of(network, np.zeros((network.require_adapter().n_scores, 2, 3), np.float32))
    assert isinstance(family, kind)
    assert family.depths(1.0).shape == (network.n_groups, 2, 3)


def test_flat_tiles_share_their_depth() -> None:
    scores = random_scores(6, BLOCKS + 1, 8, 9)
    scores[0, :4] -= 12  # so little error that no gain can be seen
    for share in (0.3, 0.6, 0.9):
        depths = ErrorDepths(scores, 1).at_depth(share * BLOCKS)[0, :3]  # the next row has deep neighbours
        assert depths.max() - depths.min() <= 1


@given(seed=st.integers(0, 2**31), height=sizes, width=sizes, n_blocks=st.integers(1, 20), at=st.floats(0, 1))
def test_tiles_are_raised_to_their_deepest_neighbour(
    seed: int, height: int, width: int, n_blocks: int, at: float
) -> None:
    """To its depth less `neighbour_blocks`, as the map of the gains alone has it, and by no more."""
    scores = random_scores(seed, n_blocks + 1, height, width, spread=1.5)
    scores[0] += 9
    family = ErrorDepths(scores, 1)
    low, high = family.shift_bounds()
    shift = low + at * (high - low)
    gains = -np.diff(predicted(scores), axis=0)
    assume((gains.sum(0) > FLAT_GAIN).all())
    assume((abs(np.log(gains) + shift) > 1e-4).all())
    alone = (gains >= np.exp(-shift)).sum(0)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(alone, 1, mode="edge"), (3, 3))
    deepest = around.max(axis=(2, 3))
    expected = np.maximum(alone, deepest - neighbour_blocks(n_blocks))
    np.testing.assert_array_equal(family.depths(shift)[0], expected)


TILES = build("edsr", 4)
"""Its adapter predicts errors."""


def test_a_tile_of_one_color_gains_less_by_each_block() -> None:
    left = predicted(color_scores(BLOCKS)[:, None, None])[:, 0, 0]
    assert left[-1] == pytest.approx(COLOR_ERROR, rel=1e-5)
    assert left[0] - left[-1] == pytest.approx(COLOR_GAIN, rel=1e-3)
    gains = left[:-1] - left[1:]
    assert (np.diff(gains) < 0).all()


@given(
    height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 2**31), share=st.floats(0.02, 0.98),
    square=st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=30)
def test_a_picture_of_one_color_has_one_depth_whatever_the_adapter_says(
    height: int, width: int, seed: int, share: float, square: int
) -> None:
    random = np.random.default_rng(seed)
    tiles = -(-height // 4), -(-width // 4)
    scores = random_scores(seed, BLOCKS + 1, *tiles, spread=5.0)
    color = random.integers(0, 255, 3)[:, None] + random.uniform(0, COLOR_RANGE, (height, width, 3, square**2))
    keep_colors(TILES, scores, color.reshape(height, width, -1).astype(np.float32))
    depths = fit_cost(ErrorDepths(scores, 1), lambda depth_map: float(depth_map.mean()) / BLOCKS, share)
    assert float(depths.max() - depths.min()) <= 1
    assert (fit_loss(ErrorDepths(scores, 1), 0.05) == 0).all()


def test_only_tiles_without_any_difference_around_are_of_one_color() -> None:
    scores = random_scores(0, BLOCKS + 1, 9, 9)
    lr = np.full((36, 36, 3), 200, np.float32)
    lr[17, 18, 1] += COLOR_RANGE + 0.5
    expected = scores.copy()
    expected[:, np.abs(np.mgrid[:9, :9] - 4).max(axis=0) > 1] = color_scores(BLOCKS)[:, None]
    keep_colors(TILES, scores, lr)
    np.testing.assert_array_equal(scores, expected)


def test_each_sample_of_a_square_counts() -> None:
    """A pattern of single pixels is plain in every sample that a network with PixelUnshuffle sees."""
    scores = random_scores(0, BLOCKS + 1, 3, 3)
    lr = np.tile(np.array([0, 255, 255, 0] * 3, np.float32), (12, 12, 1))
    before = scores.copy()
    keep_colors(TILES, scores, lr)
    np.testing.assert_array_equal(scores, before)
