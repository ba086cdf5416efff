"""Meeting a budget by shifting a family of depth maps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.sparse.calibration import calibrate
from adadsr.sparse.depth import conv_positions

BLOCKS = 8


def cost(depth_map: torch.Tensor) -> float:
    """Share of the positions of both convs that run."""
    height, width = depth_map.shape[-2:]
    return conv_positions(depth_map, 1, BLOCKS, height, width) / (2 * BLOCKS * height * width)


def calibrated(scores: torch.Tensor, target: float) -> torch.Tensor:
    bounds = (-float(scores.max()) - 1, BLOCKS - float(scores.min()) + 1)
    return calibrate(lambda shift: (scores + shift).clamp_min(0), bounds, cost, target, 0.002)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_the_cost_is_met_within_a_hundredth_and_never_exceeded(seed: int, target: float) -> None:
    scores = torch.randn(1, 1, 20, 23, generator=torch.Generator().manual_seed(seed)) * 5
    assert target - 0.01 <= cost(calibrated(scores, target)) <= target


@pytest.mark.parametrize("target", [0.1, 0.33, 0.5, 0.77])
def test_a_flat_image_meets_it_too(target: float) -> None:
    depth_map = calibrated(torch.zeros(1, 1, 40, 50), target)
    assert target - 0.01 <= cost(depth_map) <= target


def test_equal_positions_go_deeper_in_raster_order() -> None:
    depth = calibrated(torch.zeros(1, 1, 40, 50), 0.5).flatten()
    assert (depth[:-1] >= depth[1:]).all()


def test_who_goes_deeper_runs_whole_blocks() -> None:
    depth = calibrated(torch.zeros(1, 1, 40, 50), 0.53)
    gates = depth - depth.floor()
    assert not ((gates > 0) & (gates < 0.01)).any()


def test_more_than_everything_is_everything() -> None:
    assert (calibrated(torch.randn(1, 1, 5, 5), 1.0) >= BLOCKS).all()


def test_order_of_scores_is_kept() -> None:
    scores = torch.randn(1, 1, 20, 20)
    depth = calibrated(scores, 0.4).flatten()[scores.flatten().argsort()]
    assert (depth[:-1] <= depth[1:]).all()
