"""The paper's counting against figures by hand and against those that the published script gives."""

import numpy as np
import pytest

from adadsr.evaluation.paper_cost import PaperCost, paper_cost
from adadsr.networks import NetworkConfig, named_config
from evaluation_samples import random_model

# By hand for EDSR with C = 2 features and B = 3 blocks at x2; operations of a pixel:
# head 3 -> 2: (27 + 1) * 2 = 56; a conv 2 -> 2: (18 + 1) * 2 = 38; ReLU and addition of a block: 2 + 2.
# closing conv and addition: 38 + 2; enlarging: a move of 2 and a conv 2 -> 8, (18 + 1) * 8 = 152; last conv 2 -> 3 on
# four times the pixels: 4 * (18 + 1) * 3 = 228. Beside the convs of the blocks: 56 + 3 * 4 + 40 + 154 + 228 = 490.
SMALL = NetworkConfig("edsr", 2, n_feats=2, n_resblocks=3, adaptive=True)
FIXED, CONV = 490, 38
# Adapter 2 -> 1 -> 1 -> 1 -> 1 -> 1: (18 + 1) + 3 * (9 + 1) + (9 + 1) and four ReLUs of one channel: 63.
ADAPTER = 63


def in_ops(gflops):
    return round(gflops * 2**30)


def test_paper_counting_takes_four_overlapping_parts():
    cost = paper_cost(SMALL, np.full((1, 40, 60), 3.0))
    parts = 4 * 30 * 40  # halves of 20 and 30, each with 10 more
    assert in_ops(cost.dense_gflops) == parts * (FIXED + 2 * 3 * CONV)
    assert in_ops(cost.gflops) == parts * (FIXED + 2 * 3 * CONV) + 40 * 60 * ADAPTER
    assert cost.mean_depth == 3


def test_paper_counting_takes_the_ceiling_of_each_depth_and_no_dilation():
    depth_map = np.zeros((1, 40, 60))
    depth_map[0, 0, 0] = 1.2  # in one part: 2 blocks
    depth_map[0, 20, 30] = 7.0  # in the overlap of all four: 3 blocks, as there are no more
    cost = paper_cost(SMALL, depth_map)
    assert in_ops(cost.gflops) == 4 * 30 * 40 * FIXED + 2 * CONV * (2 + 4 * 3) + 40 * 60 * ADAPTER
    assert cost.mean_depth == pytest.approx(5 / 2400)


def test_paper_counting_chops_large_images_again():
    # 400 x 380 in each quarter, at least 160,000 pixels with the overlap: four parts of 215 x 205 each.
    cost = paper_cost(SMALL, np.zeros((1, 800, 760)))
    assert 410 * 390 < 160_000
    assert in_ops(cost.dense_gflops) == 4 * 410 * 390 * (FIXED + 2 * 3 * CONV)
    cost = paper_cost(SMALL, np.zeros((1, 800, 800)))
    assert in_ops(cost.dense_gflops) == 16 * 215 * 215 * (FIXED + 2 * 3 * CONV)


def test_paper_counting_of_an_image_smaller_than_the_overlap():
    cost = paper_cost(SMALL, np.zeros((1, 5, 30)))
    assert in_ops(cost.dense_gflops) == 4 * 5 * 25 * (FIXED + 2 * 3 * CONV)


# Means over the LR sizes of Set5, from the published script (csmliu/AdaDSR, flops.py) at full depth.
SET5 = [(256, 256), (144, 144), (128, 128), (140, 140), (172, 114)]


@pytest.mark.parametrize(
    ("name", "scale", "gflops"),
    [
        ("edsr", 2, 1338.7628),
        ("adaedsr", 2, 1358.3024),
        ("adaedsr", 4, 506.8070),
        ("adarcan", 2, 581.9933),
        ("adarcan", 3, 330.2631),
    ],
)
def test_paper_counting_of_the_published_networks(name, scale, gflops):
    config = named_config(name, scale)
    sizes = [(2 * height // scale, 2 * width // scale) for height, width in SET5]
    depths = [np.full((config.n_groups, *size), 99.0) for size in sizes]
    costs = [paper_cost(config, depth).gflops for depth in depths]
    assert np.mean(costs) == pytest.approx(gflops, abs=1e-4)


def test_paper_counting_takes_the_real_cost_of_a_tile_adapter():
    config = NetworkConfig("edsr", 3, n_feats=4, n_resblocks=4, adaptive=True, depth_tile=4)
    cost = paper_cost(config, np.full((1, 41, 58), 4.0))
    adapter = random_model(config).weights().require_adapter()
    assert in_ops(cost.gflops) - in_ops(cost.dense_gflops) == adapter.macs(41, 58)


@pytest.mark.parametrize("name", ["esrgan", "compact"])
def test_a_network_that_is_not_the_papers_has_no_paper_cost(name):
    assert paper_cost(named_config(name, 4), np.full((1, 8, 8), 16.0)) == PaperCost(None, None, None)
