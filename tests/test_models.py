"""The networks' laws: sizes, parameter counts, gates, and both adapters."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.errors import InputError
from adadsr.models import CONFIGS, Network, NetworkConfig, build, named_config
from adadsr.models.adapter import EDSRPixelAdapter, RCANPixelAdapter, TileAdapter
from adadsr.models.layers import ResidualBlock
from adadsr.sparse.depth import expand_tiles, gate
from adadsr.sparse.reference import run_block

EDSR = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=3)
RCAN = NetworkConfig("rcan", 2, n_feats=16, n_resblocks=2, n_groups=2)
TILES = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=8, adaptive=True, depth_tile=4)
SIZES = st.integers(1, 21)


def at(config, **changes):
    return NetworkConfig(**{**config.__dict__, **changes})


ADAPTIVE = [at(config, adaptive=True, depth_tile=tile) for config in (EDSR, RCAN) for tile in (1, 4)]
kinds = pytest.mark.parametrize("config", ADAPTIVE, ids=lambda config: f"{config.kind}-{config.depth_tile}")


def random_scores(batch, groups, height, width, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, groups, height, width, generator=generator) * spread


PARAMETERS = {
    # What EDSR-PyTorch, RCAN and BasicSR report; the first two count 24 more for their mean shifts, which are fixed.
    ("edsr", 2): 40_729_603,
    ("edsr", 3): 43_680_003,
    ("edsr", 4): 43_089_923,
    ("edsr-baseline", 2): 1_369_859,
    ("edsr-baseline", 3): 1_554_499,
    ("edsr-baseline", 4): 1_517_571,
    ("rcan", 2): 15_444_667 - 24,
    ("rcan", 3): 15_629_307 - 24,
    ("rcan", 4): 15_592_379 - 24,
}


@pytest.mark.parametrize(("name", "scale"), PARAMETERS, ids=str)
def test_parameter_counts_are_those_of_the_literature(name, scale):
    with torch.device("meta"):
        network = build(name, scale)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name, scale]


@pytest.mark.parametrize("name", CONFIGS)
def test_an_adaptive_network_is_the_plain_one_and_an_adapter(name):
    with torch.device("meta"):
        network = build(name, 2)
        plain = build(name.removeprefix("ada"), 2)
    names = set(network.state_dict())
    assert {name for name in names if not name.startswith("adapter.")} == set(plain.state_dict())
    assert (network.adapter is not None) == name.startswith("ada")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("config", [EDSR, RCAN, *ADAPTIVE], ids=lambda config: f"{config.kind}-{config.depth_tile}")
@torch.no_grad()
def test_the_output_is_scale_times_the_input(config, scale):
    network = Network(at(config, scale=scale))
    depth = 1.0 if config.adaptive else None
    for height, width in ((1, 1), (4, 8), (5, 7)):
        sr, depth_map = network(torch.rand(2, 3, height, width) * 255, depth)
        assert sr.shape == (2, 3, scale * height, scale * width)
        if depth is not None:
            tile = config.depth_tile
            assert depth_map.shape == (2, config.n_groups, -(-height // tile), -(-width // tile))
            assert (depth_map >= 0).all()


@kinds
@torch.no_grad()
def test_full_depth_is_the_plain_network(config):
    network = Network(config)
    plain = Network(at(config, adaptive=False, depth_tile=1))
    plain.load_state_dict(network.state_dict(), strict=False)
    lr = torch.rand(1, 3, 6, 9) * 255
    z0 = network.head(lr)
    for depth in (config.n_resblocks, config.n_resblocks + 7.5):
        full = torch.full_like(network.predict_depth(z0, 1.0), depth)
        assert torch.equal(network.restore(z0, full), plain(lr).sr)
    assert torch.equal(network(lr).sr, plain(lr).sr)


@torch.no_grad()
def test_depth_zero_leaves_only_the_skips():
    for config in ADAPTIVE:
        network = Network(config)
        z0 = network.head(torch.rand(1, 3, 6, 9) * 255)
        nothing = torch.zeros_like(network.predict_depth(z0, 1.0))
        z = z0
        for group in network.body.groups if config.backbone == "rcan" else ():
            z = group.conv(z) + z
        expected = network.tail(network.body.conv(z) + z0)
        torch.testing.assert_close(network.restore(z0, nothing), expected)


@given(depth=st.floats(0, 12), blocks=st.integers(1, 12))
def test_the_gates_of_a_position_add_up_to_its_depth(depth, blocks):
    depth_map = torch.tensor([depth], dtype=torch.float64)
    gates = torch.cat([gate(depth_map, block) for block in range(blocks)])
    assert float(gates.sum()) == pytest.approx(min(depth, blocks), abs=1e-9)
    assert ((gates >= 0) & (gates <= 1)).all()
    assert (gates[:-1] >= gates[1:]).all()  # active sets are nested
    assert int(((gates > 0) & (gates < 1)).sum()) <= 1


@torch.no_grad()
def test_a_tile_mask_zeroes_the_hidden_features_outside_it():
    block = ResidualBlock(8)
    x = torch.randn(2, 8, 12, 8)
    depths = torch.tensor([[0.0, 2.0], [0.4, 0.0], [1.0, 0.0]]).expand(2, 1, 3, 2)
    weight = gate(expand_tiles(depths, 4, 12, 8), 0)
    inside = weight > 0
    hidden = torch.relu(block.conv1(x)) * inside
    tiles = run_block(block.tensors(), x, weight, tile_mask=True)
    torch.testing.assert_close(tiles, x + block.conv2(hidden) * weight)
    assert torch.equal(tiles.masked_select(~inside), x.masked_select(~inside))
    pixels = run_block(block.tensors(), x, weight, tile_mask=False)
    torch.testing.assert_close(pixels, x + block.conv2(torch.relu(block.conv1(x))) * weight)
    assert (tiles - pixels).abs().max() > 1e-3  # the two definitions differ along the tiles' borders


@settings(max_examples=40, deadline=None)
@given(
    height=SIZES,
    width=SIZES,
    groups=st.integers(1, 3),
    spread=st.sampled_from([0.01, 1.0, 8.0]),
    share=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**31),
)
def test_the_tile_adapter_meets_the_desired_mean(height, width, groups, spread, share, seed):
    adapter = TileAdapter(TILES)
    scores = random_scores(2, groups, height, width, spread, seed)
    desired = torch.tensor([share, 1 - share]) * TILES.n_resblocks
    depth_map = adapter.at_depth(scores, desired)
    assert ((depth_map >= 0) & (depth_map <= TILES.n_resblocks)).all()
    torch.testing.assert_close(depth_map.mean(dim=(1, 2, 3)), desired, atol=1e-3, rtol=0)


def test_the_tile_adapter_reaches_both_ends():
    adapter = TileAdapter(TILES)
    scores = random_scores(1, 1, 6, 6, 1.0, 0)
    for desired in (0.0, 8.0):
        depth_map = adapter.at_depth(scores, torch.tensor([desired]))
        torch.testing.assert_close(depth_map, torch.full_like(depth_map, desired), atol=1e-3, rtol=0)
    spread = adapter.at_depth(scores * 8, torch.tensor([4.0]))
    assert (spread == 0).any()
    assert (spread == 8).any()


@settings(max_examples=20, deadline=None)
@given(spread=st.sampled_from([0.1, 1.0, 4.0]), share=st.floats(0.1, 0.9), seed=st.integers(0, 2**31))
def test_no_score_moves_the_mean_depth(spread, share, seed):
    adapter = TileAdapter(TILES)
    scores = random_scores(2, 2, 5, 7, spread, seed).requires_grad_()
    desired = torch.full((2,), share * TILES.n_resblocks)
    depth_map = adapter.at_depth(scores, desired)
    (of_mean,) = torch.autograd.grad(depth_map.mean(dim=(1, 2, 3)).sum(), scores, retain_graph=True)
    (of_one,) = torch.autograd.grad(depth_map[:, :, 2, 3].sum(), scores)
    assert of_mean.abs().max() < 1e-6 * TILES.n_resblocks
    assert of_one.abs().max() > 1e-3 or (depth_map[:, :, 2, 3] % TILES.n_resblocks == 0).all()


@kinds
@torch.no_grad()
def test_depths_do_not_fall_with_the_shift_and_its_bounds_are_the_ends(config):
    adapter = Network(config).adapter
    scores = random_scores(1, config.n_groups, 4, 5, 2.0, 1)
    low, high = adapter.shift_bounds(scores)
    assert (adapter.depth_map(scores, low) == 0).all()
    assert (adapter.depth_map(scores, high) >= config.n_resblocks).all()
    maps = [adapter.depth_map(scores, low + (high - low) * step / 9) for step in range(10)]
    for lower, higher in pairwise(maps):
        assert (lower <= higher).all()


@settings(max_examples=15, deadline=None)
@given(height=SIZES, width=SIZES)
@torch.no_grad()
def test_tiles_that_hang_over_the_border_work(height, width):
    network = Network(TILES)
    z0 = network.head(torch.rand(1, 3, height, width) * 255)
    depth_map = network.predict_depth(z0, 3.0)
    assert depth_map.shape == (1, 1, -(-height // 4), -(-width // 4))
    assert float(depth_map.mean()) == pytest.approx(3.0, abs=1e-3)
    assert network.restore(z0, depth_map).shape == (1, 3, 2 * height, 2 * width)


def test_the_desired_depth_enters_where_the_paper_puts_it():
    z0 = torch.randn(2, 16, 5, 6)
    desired = torch.tensor([1.0, 3.0])
    edsr = EDSRPixelAdapter(at(EDSR, n_feats=16, adaptive=True))
    rcan = RCANPixelAdapter(at(RCAN, adaptive=True))
    per_sample = desired.view(2, 1, 1, 1)

    def published(adapter, z):
        z = adapter.first(z)
        for part in adapter.rest:
            z = part.conv(part.activation(z))
        return z

    torch.testing.assert_close(edsr(z0, desired), torch.relu(published(edsr, z0) * per_sample))
    torch.testing.assert_close(rcan(z0, desired), torch.relu(published(rcan, z0 * per_sample)))
    assert edsr(z0, desired).shape == (2, 1, 5, 6)
    assert rcan(z0, desired).shape == (2, 2, 5, 6)


@torch.no_grad()
def test_one_depth_serves_a_batch_as_one_for_each():
    network = Network(at(EDSR, adaptive=True))
    lr = torch.rand(3, 3, 5, 6) * 255
    assert torch.equal(network(lr, 2.0).sr, network(lr, torch.tensor([2.0, 2.0, 2.0])).sr)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": 5}, "scale=5 is not one of 2, 3, 4"),
        ({"scale": 2.0}, r"scale=2\.0 is not of type"),
        ({"adaptive": 1}, "adaptive=1 is not of type"),
        ({"depth_tile": 4}, "depth_tile=4 needs an adaptive network; pass adaptive=True"),
        ({"adaptive": True, "depth_tile": 3}, "depth_tile=3 is not one of 1, 4"),
        ({"n_feats": 1}, "n_feats=1, n_resblocks=16, n_groups=1: n_feats is at least 2"),
        ({"n_resblocks": 0}, "n_resblocks=0"),
        ({"n_groups": -1}, "n_groups=-1"),
    ],
)
def test_configurations_check_themselves(values, message):
    with pytest.raises(InputError, match=message):
        NetworkConfig(**{"backbone": "edsr", "scale": 2, **values})


def test_networks_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="backbone='srcnn' is not one of edsr, rcan"):
        Network(NetworkConfig("srcnn", 2))
    with pytest.raises(InputError, match="n_groups=2: EDSR has one group"):
        Network(NetworkConfig("edsr", 2, n_groups=2))
    with pytest.raises(InputError, match="network 'edsr-huge' is not one of edsr, edsr-baseline, rcan"):
        build("edsr-huge", 2)
    with pytest.raises(InputError, match="depth_tile=4 needs an adaptive network"):
        named_config("edsr", 2, depth_tile=4)
    with pytest.raises(InputError, match="edsr has no adapter: it runs at full depth only"):
        Network(EDSR)(torch.zeros(1, 3, 4, 4), 2.0)
