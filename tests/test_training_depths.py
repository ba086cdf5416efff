"""Depths of a step: how they are drawn, and that the adapter's maps meet them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from adadsr.errors import InputError
from adadsr.graph.calibration import neighbour_blocks
from adadsr.tensor_ops import OPS
from adadsr.training import Recipe, Stage
from adadsr.training.depths import (
    AdapterDepths,
    UniformDepths,
    draw_depths,
    part_of,
    random_maps,
    shared_depth_maps,
)
from adadsr.training.forward import TrainingForward
from training_samples import build

N_BLOCKS = 16


def shared(group=4, **options):
    return Stage(steps=1, batch=8, patch=8, learning_rate=1e-4, adaptive=True, shared_depth=group, **options)


def test_depths_are_drawn_as_the_stage_says():
    stage = Stage(1, 4000, 8, 1e-3, adaptive=True, full_share=0.3, least_share=0.2)
    shares = draw_depths(stage, N_BLOCKS, torch.Generator().manual_seed(0)).desired / N_BLOCKS
    assert float(shares.min()) == pytest.approx(0.2, abs=0.01)
    assert float((shares == 1).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert draw_depths(Stage(1, 8, 8, 1e-3), N_BLOCKS, torch.Generator()) is None


@pytest.mark.parametrize(("full_share", "full"), [(0.0, 0), (0.25, 1), (0.8, 3)])
def test_images_below_full_depth_share_one(full_share, full):
    drawn = draw_depths(shared(full_share=full_share), N_BLOCKS, torch.Generator().manual_seed(0))
    assert (drawn.group, drawn.full) == (4, full)
    depths = drawn.desired.view(2, 4)
    assert (depths[:, :full] == N_BLOCKS).all()
    assert (depths[:, full:] == depths[:, -1:]).all()
    assert depths[0, -1] != depths[1, -1]


@pytest.mark.parametrize(("network", "groups"), [("adaedsr-baseline", 1), ("adarcan-small", 5)])
def test_together_their_maps_meet_it(network, groups):
    torch.manual_seed(0)
    network = build(network, 2, 4)
    weights = network.weights()
    blocks = weights.n_blocks
    wanted = torch.tensor([0.4, 0.7]) * blocks
    z0 = torch.randn(6, 64, 16, 12)
    z0[1] *= 10
    with torch.no_grad():
        depths = AdapterDepths(wanted.repeat_interleave(3), group=3, full=1)
        depth_map = shared_depth_maps(weights, weights.adapter.run(OPS, z0, depths.desired), depths)
    assert depth_map.shape == (6, groups, 4, 3)
    assert (depth_map[[0, 3]] == blocks).all()
    for pair, depth in zip((depth_map[1:3], depth_map[4:6]), wanted, strict=True):
        assert float(depth) - 1 / 24 <= float(pair.mean()) <= float(depth) + 1e-3
    assert abs(float(depth_map[1].mean() - wanted[0])) > 1 / 12  # one image alone need not meet it


@pytest.mark.parametrize("depths", [UniformDepths((6,)), AdapterDepths(torch.full((4,), 6.0), group=4, full=1)])
def test_an_adapter_that_predicts_errors_learns_from_nothing_else_and_the_network_not_from_it(depths):
    torch.manual_seed(0)
    network, lr = build("adaedsr-baseline", 2, 4), torch.rand(4, 3, 16, 16) * 255
    result = TrainingForward(network, bfloat16=False)(lr, depths)
    assert result.predicted_error.shape == (4, 1, 4, 4)
    parameters = dict(network.named_parameters())
    of_prediction = torch.autograd.grad(
        result.predicted_error.sum(), parameters.values(), retain_graph=True, allow_unused=True
    )
    of_image = torch.autograd.grad(result.sr.sum(), parameters.values(), allow_unused=True)
    for name, one, other in zip(parameters, of_prediction, of_image, strict=True):
        is_adapter = name.startswith("adapter.")
        assert (one is not None) == is_adapter
        assert other is None or not is_adapter


@pytest.mark.parametrize(
    ("group", "options", "said"),
    [(3, {}, "does not divide"), (4, {"full_share": 1.0}, "no image below")],
)
def test_contradictions_are_refused(group, options, said):
    with pytest.raises(InputError, match=said):
        shared(group, **options)


def test_sharing_needs_an_adapter_that_meets_depths():
    with pytest.raises(InputError, match="depth_tile: 4"):
        Recipe(network="adaedsr-baseline", scale=2, depth_tile=1, stages=(shared(),))


@pytest.mark.parametrize("network", ["adaedsr-baseline", "adarcan-small"])
def test_a_uniform_step_is_the_same_depth_everywhere(network):
    torch.manual_seed(0)
    network, lr = build(network, 2, 4), torch.rand(2, 3, 12, 8) * 255
    depth = network.config.n_resblocks // 2
    with torch.no_grad():
        everywhere = torch.full((2, network.config.n_groups, 3, 2), float(depth))
        expected = network.weights().run(OPS, lr, everywhere)[..., 1:-1, 1:-1]
        result = TrainingForward(network, bfloat16=False)(lr, UniformDepths((depth,)))
    assert result.depth_map is None
    torch.testing.assert_close(result.sr, expected, atol=2e-3, rtol=0)


def test_uniform_depths_are_as_frequent_as_requested_and_reach_every_block():
    generator = torch.Generator().manual_seed(0)
    depths = [draw_depths(shared(uniform_share=0.25), N_BLOCKS, generator) for _ in range(2000)]
    drawn = [depth.blocks[0] for depth in depths if isinstance(depth, UniformDepths)]
    assert 0.2 < len(drawn) / len(depths) < 0.3
    assert set(drawn) == set(range(1, N_BLOCKS + 1))


def test_exits_are_full_depth_and_others():
    stage = shared(uniform_share=0.9, exits=3)
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_depths(stage, N_BLOCKS, generator) for _ in range(200)]
    several = [depth.blocks for depth in drawn if isinstance(depth, UniformDepths)]
    assert all(len(set(blocks)) == 3 and max(blocks) == N_BLOCKS for blocks in several)
    assert {block for blocks in several for block in blocks} == set(range(1, N_BLOCKS + 1))


def test_an_adapter_that_learns_alone_sees_tiles_at_several_depths():
    stage = shared(uniform_share=0.9, train="adapter", exits=4)
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_depths(stage, N_BLOCKS, generator) for _ in range(200)]
    several = [depth.blocks for depth in drawn if isinstance(depth, UniformDepths)]
    assert all(len(set(blocks)) == len(blocks) > 1 for blocks in several)
    assert {block for blocks in several for block in blocks} == set(range(N_BLOCKS + 1))


def test_closing_convs_learn_below_full_depth():
    generator = torch.Generator().manual_seed(0)
    stage = shared(uniform_share=0.9, train="exits", exits=1)
    drawn = [draw_depths(stage, N_BLOCKS, generator) for _ in range(200)]
    assert {depth.blocks for depth in drawn if isinstance(depth, UniformDepths)} == {(n,) for n in range(N_BLOCKS)}


@torch.no_grad()
def test_several_depths_are_each_of_them_in_turn():
    torch.manual_seed(0)
    network, lr = build("adaedsr-baseline", 2, 4), torch.rand(2, 3, 12, 8) * 255
    forward = TrainingForward(network, bfloat16=False)
    together, alone = forward(lr, UniformDepths((5, 0))), [forward(lr, UniformDepths((n,))) for n in (5, 0)]
    torch.testing.assert_close(together.sr, torch.cat([each.sr for each in alone]))
    torch.testing.assert_close(together.predicted_error, torch.cat([each.predicted_error for each in alone]))


def test_a_part_of_the_depths_is_that_of_the_images():
    whole = AdapterDepths(torch.arange(8.0), group=4, full=1)
    part = part_of(whole, slice(4, 8), torch.device("cpu"))
    assert (part.desired.tolist(), part.group, part.full) == ([4, 5, 6, 7], 4, 1)
    assert part_of(replace(whole, color_maps=torch.arange(8.0)), slice(4, 8), torch.device("cpu")).color_maps[0] == 4
    for depths in (None, UniformDepths((3,))):
        assert part_of(depths, slice(4, 8), torch.device("cpu")) == depths


def test_random_maps_have_borders_between_all_depths_that_may_touch():
    maps = random_maps(400, 8, N_BLOCKS, torch.Generator().manual_seed(0))
    assert maps.shape == (400, 1, 8, 8)
    assert set(maps.unique().tolist()) == set(map(float, range(N_BLOCKS + 1)))
    step = F.max_pool2d(maps, 3, stride=1, padding=1) - maps
    most = neighbour_blocks(N_BLOCKS)
    beside = {int(n) for n in step[maps == 0]}
    assert set(range(most + 1)) <= beside
    assert float(step.max()) <= most


def test_images_of_one_color_run_by_their_own_maps():
    torch.manual_seed(0)
    network, lr = build("adaedsr-baseline", 2, 4), torch.rand(4, 3, 16, 16) * 255
    lr[::2] = lr[::2, :, :1, :1]
    maps = random_maps(4, 4, N_BLOCKS, torch.Generator().manual_seed(1))
    forward = TrainingForward(network, bfloat16=False)
    depths = AdapterDepths(torch.full((4,), 6.0), group=4, full=1)
    theirs, own = (forward(lr, replace(depths, color_maps=given)).depth_map for given in (None, maps))
    assert torch.equal(own[::2], maps[::2])
    assert torch.equal(own[1::2], theirs[1::2])
