"""Gates, active sets and their sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adadsr.graph.depth import active_counts, dilate, expand_tiles, gate, mean_depth
from graph_samples import Array32

BLOCKS = 5
seeds = st.integers(0, 2**31)


def random_depths(seed: int, *shape: int) -> Array32:
    """Depths in [0, BLOCKS + 1], a third of them 0."""
    depths = np.random.default_rng(seed).random(shape, np.float32) * (BLOCKS + 1)
    return depths * (depths > (BLOCKS + 1) / 3)


@given(seeds)
def test_gates_spend_exactly_the_depth(seed: int) -> None:
    depth = random_depths(seed, 2, 1, 6, 7)
    spent = sum(gate(depth, block) for block in range(BLOCKS))
    np.testing.assert_allclose(spent, depth.clip(0, BLOCKS), rtol=0, atol=1e-5)


@given(depth=st.floats(0, 12), blocks=st.integers(1, 12))
def test_at_most_one_gate_of_a_position_is_a_fraction(depth: float, blocks: int) -> None:
    gates = np.array([gate(np.float64(depth), block) for block in range(blocks)])
    assert gates.sum() == pytest.approx(min(depth, blocks), abs=1e-9)
    assert ((gates >= 0) & (gates <= 1)).all()
    assert ((gates > 0) & (gates < 1)).sum() <= 1


@given(seeds)
def test_active_sets_are_nested(seed: int) -> None:
    depth = random_depths(seed, 1, 1, 6, 7)
    for block in range(BLOCKS):
        assert (gate(depth, block) >= gate(depth, block + 1)).all()


@given(seeds, st.integers(0, 3), st.integers(1, 8), st.integers(1, 8))
def test_dilating_the_depth_dilates_every_active_set(seed: int, reach: int, height: int, width: int) -> None:
    depth = random_depths(seed, 1, 1, height, width)
    before = depth.copy()
    for block in range(BLOCKS):
        active = depth > block
        expected = np.zeros_like(active)
        for row, column in np.argwhere(active[0, 0]):
            expected[..., max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = True
        np.testing.assert_array_equal(dilate(depth, reach) > block, expected)
    np.testing.assert_array_equal(depth, before)


@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_tiles_cover_the_pixels_they_stand_for(seed: int, height: int, width: int) -> None:
    coarse = random_depths(seed, 1, 2, -(-height // 4), -(-width // 4))
    pixels = expand_tiles(coarse, 4, height, width)
    assert pixels.shape == (1, 2, height, width)
    for row, column in np.ndindex(height, width):
        np.testing.assert_array_equal(pixels[..., row, column], coarse[..., row // 4, column // 4])


@given(seeds)
def test_counts_are_the_sizes_of_the_active_sets(seed: int) -> None:
    depth = random_depths(seed, 2, 1, 6, 7)
    expected = [(depth > block).sum() for block in range(BLOCKS)]
    np.testing.assert_array_equal(active_counts(depth, BLOCKS), expected)


def test_mean_depth_counts_what_can_run() -> None:
    assert mean_depth(np.array([[[[0.0, 2.5], [9.0, 0.5]]]]), BLOCKS) == 2.0
