"""Prices against torch's counter of what a network runs, and against a count by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from adadsr.graph import BodyWeights, Cost, GroupWeights, NetworkWeights, Stage, price
from adadsr.graph.price import body_macs
from adadsr.tensor_ops import OPS
from graph_samples import KINDS, OTHER_KINDS, Array32, build, config_of, depth_map_of, network_of, tensors

ALL = [*KINDS, *OTHER_KINDS]


def counted(network: NetworkWeights, height: int, width: int) -> int:
    """Multiply-accumulates that torch counts in the dense definition."""
    with FlopCounterMode(display=False) as counter:
        tensors(network).run(OPS, torch.rand(1, 3, height, width) * 255)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("backbone", "depth_tile"), ALL)
def test_the_dense_price_is_what_torch_counts(backbone: str, depth_tile: int, scale: int) -> None:
    network = network_of(config_of(backbone, depth_tile, scale=scale))
    for size in ((1, 1), (7, 10)):
        cost = price(network, *size)
        assert cost.total == counted(network, *size)
        assert cost.adapter == 0


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_the_price_of_an_adapter_is_what_torch_counts(backbone: str, depth_tile: int) -> None:
    network = build(backbone, depth_tile)
    with FlopCounterMode(display=False) as counter:
        tensors(network.adapter).run(OPS, torch.zeros(1, network.channels, 7, 10), torch.ones(1))
    cost = price(network, 7, 10, np.zeros(network.map_shape(7, 10), np.float32))
    assert cost.adapter == counter.get_total_flops() // 2


@pytest.mark.parametrize(("backbone", "depth_tile"), ALL)
@settings(max_examples=10)
@given(height=st.integers(1, 14), width=st.integers(1, 14))
def test_everything_active_costs_the_dense_body(backbone: str, depth_tile: int, height: int, width: int) -> None:
    network = build(backbone, depth_tile)
    everywhere = np.full(network.map_shape(height, width), network.n_blocks + 0.5, np.float32)
    assert price(network, height, width, everywhere).body == price(network, height, width).body


@pytest.mark.parametrize(("backbone", "depth_tile"), ALL)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_a_deeper_map_never_costs_less(backbone: str, depth_tile: int, seed: int, rows: int, columns: int) -> None:
    """In whole tiles: beyond the border they count, too, unless all of them are active."""
    network, height, width = build(backbone, depth_tile), rows * depth_tile, columns * depth_tile
    shallow, deep = depth_map_of(network, seed, 2, height, width)
    deep = np.maximum(shallow, deep)
    costs = [price(network, height, width, depths).body for depths in (np.zeros_like(shallow), shallow, deep, None)]
    assert costs == sorted(costs)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_a_batch_costs_the_sum_of_its_images(backbone: str, depth_tile: int) -> None:
    network = build(backbone, depth_tile)
    depth_map = depth_map_of(network, 3, 3, 8, 12)
    depth_map[1, :, 0, 0], depth_map[:, :, -1, -1] = 2.5, 0  # no block is active everywhere
    depth_map[2] = 0
    single = sum(body_macs(network.body, 8, 12, depths[None]) for depths in depth_map)
    # A block that runs for one image runs its attention for all of them.
    attention = network.body.blocks[0].image_macs
    whole = body_macs(network.body, 8, 12, depth_map)
    assert whole - single in ({0} if not attention else set(range(0, 99 * attention, attention)))
    assert body_macs(network.body, 8, 12, batch=3) == 3 * body_macs(network.body, 8, 12)


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_the_body_by_looking_at_each_pixel(depth_tile: int) -> None:
    network, height, width = build("edsr", depth_tile), 10, 15
    depth_map = depth_map_of(network, 4, 1, height, width)[0].clip(0.3)  # the first block is active everywhere
    depths, positions = depth_map[0], 0
    for block, y, x in itertools.product(range(network.n_blocks), range(height), range(width)):
        if depth_tile == 1:
            near = depths[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            positions += int(depths[y, x] > block) + int(near.max() > block)
        elif y % 4 == x % 4 == 0 and depths[y // 4, x // 4] > block:
            positions += 2 * 16
    if depth_tile > 1:
        # A block that is active everywhere runs densely, without the pixels of tiles that reach over the border.
        positions -= 2 * (12 * 16 - height * width)
    positions += height * width  # the closing conv
    assert price(network, height, width, depth_map).body == positions * 9 * network.channels**2


def test_a_conv_is_counted_where_later_convs_of_its_block_look() -> None:
    class Wide:
        reach, image_macs = 3, 7
        stages = (Stage(macs=100, dilation=2), Stage(macs=10, dilation=0))

        def is_sparse(self, depth_tile: int) -> bool:
            return True

    body = BodyWeights((GroupWeights((Wide(), Wide())),), None)  # type: ignore[arg-type]
    depth_map: Array32 = np.zeros((1, 1, 9, 9), np.float32)
    depth_map[..., 4, 4] = 2
    assert body_macs(body, 9, 9, depth_map) == 2 * (25 * 100 + 1 * 10 + 7)
    depth_map[..., 4, 4] = 1
    assert body_macs(body, 9, 9, depth_map) == 25 * 100 + 10 + 7


def test_costs_add_up_part_by_part() -> None:
    total = Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40)
    assert total == Cost(11, 22, 33, 44)
    assert total.total == 110
