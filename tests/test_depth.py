"""Gates, active sets and their sizes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from adadsr.sparse.depth import conv_positions, dilate, expand_tiles, gate, mean_depth

BLOCKS = 5
seeds = st.integers(0, 2**31)


def random_depths(seed: int, *shape: int) -> torch.Tensor:
    """Depths in [0, BLOCKS + 1], a third of them 0."""
    depths = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (BLOCKS + 1)
    return depths * (depths > (BLOCKS + 1) / 3)


@given(seeds)
def test_gates_spend_exactly_the_depth(seed: int) -> None:
    depth = random_depths(seed, 2, 1, 6, 7)
    spent = sum(gate(depth, block) for block in range(BLOCKS))
    torch.testing.assert_close(spent, depth.clamp(0, BLOCKS), rtol=0, atol=1e-5)


@given(seeds)
def test_active_sets_are_nested(seed: int) -> None:
    depth = random_depths(seed, 1, 1, 6, 7)
    for block in range(BLOCKS):
        assert ((gate(depth, block) > 0) | ~(gate(depth, block + 1) > 0)).all()


@given(seeds)
def test_dilating_the_depth_dilates_every_active_set(seed: int) -> None:
    depth = random_depths(seed, 1, 1, 6, 7)
    for block in range(BLOCKS):
        active = gate(depth, block) > 0
        expected = torch.zeros_like(active)
        for row, column in torch.nonzero(active[0, 0]).tolist():
            expected[0, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
        assert torch.equal(dilate(depth) > block, expected)


@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_tiles_cover_the_pixels_they_stand_for(seed: int, height: int, width: int) -> None:
    coarse = random_depths(seed, 1, 2, -(-height // 4), -(-width // 4))
    pixels = expand_tiles(coarse, 4, height, width)
    assert pixels.shape == (1, 2, height, width)
    for row in range(height):
        for column in range(width):
            assert torch.equal(pixels[..., row, column], coarse[..., row // 4, column // 4])


@given(seeds)
def test_positions_of_pixel_masks_are_the_sizes_of_both_active_sets(seed: int) -> None:
    depth = random_depths(seed, 2, 1, 6, 7)
    expected = 0
    for block in range(BLOCKS):
        expected += int((depth > block).sum()) + int((dilate(depth) > block).sum())
    assert conv_positions(depth, 1, BLOCKS, 6, 7) == expected


def test_tiles_count_whole_except_where_every_tile_is_active() -> None:
    depth = torch.tensor([[[[2.0, 1.5], [1.0, 0.0]]]])
    assert conv_positions(depth, 4, BLOCKS, 6, 7) == 2 * 16 * (3 + 2)
    assert conv_positions(depth.clamp_min(0.5), 4, BLOCKS, 6, 7) == 2 * (6 * 7 + 2 * 16)


def test_mean_depth_counts_what_can_run() -> None:
    assert mean_depth(torch.tensor([[[[0.0, 2.5], [9.0, 0.5]]]]), BLOCKS) == 2.0
