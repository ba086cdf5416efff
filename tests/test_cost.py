"""cost.py and what the Upscaler reports, against torch's counter, a count of every product, and figures by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from adadsr.cost import Cost, CostModel, paper_cost
from adadsr.models import Network, NetworkConfig
from adadsr.models.registry import named_config
from adadsr.upscaler import Upscaler

EDSR = NetworkConfig("edsr", 2, n_feats=4, n_resblocks=4)
ADAEDSR = NetworkConfig("edsr", 2, n_feats=4, n_resblocks=4, adaptive=True)
TILED = NetworkConfig("edsr", 3, n_feats=4, n_resblocks=4, adaptive=True, depth_tile=4)
ADARCAN = NetworkConfig("rcan", 4, n_feats=16, n_resblocks=3, n_groups=2, adaptive=True)
ALL = (EDSR, ADAEDSR, TILED, ADARCAN)


def name_of(config):
    return f"{config.kind}-tile{config.depth_tile}"


class Products(TorchDispatchMode):
    """Counts the multiplications of every convolution and matrix product that torch really runs."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if isinstance(out, torch.Tensor) and out.is_meta:
            return out  # the cost model at work: shapes only
        if "conv" in name:
            self.total += out.numel() * math.prod(args[1].shape[1:])
        elif name in ("addmm", "addmm_"):
            self.total += args[1].numel() * args[2].shape[1]
        elif name == "linear":
            self.total += args[0].numel() * args[1].shape[0]
        elif name in ("mm", "bmm", "matmul", "baddbmm", "einsum"):
            raise AssertionError(f"{name} is not counted here")
        return out


def upscaler(config, **options):
    torch.manual_seed(0)
    return Upscaler(Network(config), **options)


def image(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("config", ALL, ids=name_of)
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (24, 16)], ids=str)
def test_dense_cost_is_what_torch_counts_in_the_real_network(config, size):
    network = Network(config)
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, *size) * 255)
    assert CostModel(config).dense(*size).total == counter.get_total_flops() // 2


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_report_at_full_depth_is_the_dense_cost(config):
    report = upscaler(config)(image(13, 18)).report
    expected = CostModel(config).dense(13, 18)
    assert report.executed_gmacs == report.dense_gmacs == expected.total / 1e9
    assert report.parts == {"head": expected.head / 1e9, "adapter": 0, "body": expected.body / 1e9} | {
        "tail": expected.tail / 1e9
    }


@pytest.mark.parametrize("config", ALL[1:], ids=name_of)
@pytest.mark.parametrize("tile", [None, 9], ids=["whole", "tiles"])
@pytest.mark.parametrize("target", [{"budget": 0.8}, {"depth": 1.5}, {}], ids=str)
def test_report_counts_every_product_that_ran(config, tile, target):
    # torch cannot count what the native engine multiplies; tests/test_native.py compares the two counts.
    model, lr = upscaler(config, tile=tile, backend="torch"), image(22, 27)
    with Products() as products:
        report = model(lr, **target).report
    assert (report.tiles > 1) == (tile is not None)
    assert round(report.executed_gmacs * 1e9) == products.total


@pytest.mark.parametrize("config", [ADAEDSR, TILED], ids=name_of)
def test_body_count_by_looking_at_each_pixel(config):
    height, width = 10, 15
    done = upscaler(config)(image(height, width), budget=0.75)
    side, macs_a_pixel = config.depth_tile, 9 * config.n_feats**2
    depth = done.depth_map[0]
    positions = 0
    for block, y, x in itertools.product(range(config.n_resblocks), range(height), range(width)):
        if side == 1:
            near = depth[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            positions += int(depth[y, x] > block) + int(near.max() > block)
        elif y % side == x % side == 0 and depth[y, x] > block:
            positions += 2 * side**2
    hanging = math.ceil(height / side) * math.ceil(width / side) * side**2 - height * width
    # A block that is active everywhere runs densely, without the pixels of tiles that hang over the border.
    positions -= 2 * hanging * int(np.ceil(depth.min()))
    positions += height * width  # the conv that closes the body
    assert round(done.report.parts["body"] * 1e9) == positions * macs_a_pixel


def test_costs_add_up_part_by_part():
    total = Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40)
    assert total == Cost(11, 22, 33, 44)
    assert total.total == 110


# The paper's counting. By hand for EDSR with C = 2 features and B = 3 blocks at x2; operations of a pixel:
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
    cost = paper_cost(SMALL, np.full((1, 40, 60), 3.0), 40, 60)
    parts = 4 * 30 * 40  # halves of 20 and 30, each with 10 more
    assert in_ops(cost.dense_gflops) == parts * (FIXED + 2 * 3 * CONV)
    assert in_ops(cost.gflops) == parts * (FIXED + 2 * 3 * CONV) + 40 * 60 * ADAPTER
    assert cost.mean_depth == 3


def test_paper_counting_takes_the_ceiling_of_each_depth_and_no_dilation():
    depth_map = np.zeros((1, 40, 60))
    depth_map[0, 0, 0] = 1.2  # in one part: 2 blocks
    depth_map[0, 20, 30] = 7.0  # in the overlap of all four: 3 blocks, as there are no more
    cost = paper_cost(SMALL, depth_map, 40, 60)
    assert in_ops(cost.gflops) == 4 * 30 * 40 * FIXED + 2 * CONV * (2 + 4 * 3) + 40 * 60 * ADAPTER
    assert cost.mean_depth == pytest.approx(5 / 2400)


def test_paper_counting_chops_large_images_again():
    # 400 x 380 in each quarter, at least 160,000 pixels with the overlap: four parts of 215 x 205 each.
    cost = paper_cost(SMALL, np.zeros((1, 800, 760)), 800, 760)
    assert 410 * 390 < 160_000
    assert in_ops(cost.dense_gflops) == 4 * 410 * 390 * (FIXED + 2 * 3 * CONV)
    cost = paper_cost(SMALL, np.zeros((1, 800, 800)), 800, 800)
    assert in_ops(cost.dense_gflops) == 16 * 215 * 215 * (FIXED + 2 * 3 * CONV)


def test_paper_counting_of_an_image_smaller_than_the_overlap():
    cost = paper_cost(SMALL, np.zeros((1, 5, 30)), 5, 30)
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
    costs = [paper_cost(config, depth, *size).gflops for depth, size in zip(depths, sizes, strict=True)]
    assert np.mean(costs) == pytest.approx(gflops, abs=1e-4)


def test_paper_counting_takes_the_real_cost_of_a_tile_adapter():
    depth_map = np.full((1, 40, 60), 4.0)
    cost = paper_cost(TILED, depth_map, 40, 60)
    assert in_ops(cost.gflops) - in_ops(cost.dense_gflops) == CostModel(TILED).adapter(40, 60).adapter
