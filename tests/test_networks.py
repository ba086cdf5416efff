"""The torch module of a network: sizes, gates, both adapters, and gradients through the depth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adadsr.errors import InputError
from adadsr.graph import calibration
from adadsr.graph.calibration import family_of
from adadsr.networks import Network, NetworkConfig
from adadsr.networks.depth_maps import depths_at, predicted_error
from adadsr.tensor_ops import OPS
from graph_samples import BLOCKS, KINDS, OTHER_KINDS, build, config_of

sizes = st.integers(1, 21)
kinds = pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)


def at(config: NetworkConfig, **changes: object) -> NetworkConfig:
    return NetworkConfig(**{**config.__dict__, **changes})


def random_network(config: NetworkConfig) -> Network:
    torch.manual_seed(0)
    return Network(config)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])
@torch.no_grad()
def test_the_output_is_scale_times_the_input(backbone: str, depth_tile: int, scale: int) -> None:
    config = config_of(backbone, depth_tile, scale=scale)
    network = random_network(config)
    for height, width in ((1, 1), (5, 7)):
        sr, depth_map = network(torch.rand(2, 3, height, width) * 255, 1.0 if config.adaptive else None)
        assert sr.shape == (2, 3, scale * height, scale * width)
        assert (depth_map is not None) == config.adaptive
        if depth_map is not None:
            assert depth_map.shape == (2, *network.weights().map_shape(height, width))
            assert (depth_map >= 0).all()


@kinds
@torch.no_grad()
def test_full_depth_is_the_plain_network(backbone: str, depth_tile: int) -> None:
    network = random_network(config_of(backbone, depth_tile))
    plain = Network(at(network.config, adaptive=False, depth_tile=1, exits=False))
    plain.load_state_dict(network.state_dict(), strict=False)
    lr = torch.rand(1, 3, 6, 9) * 255
    weights, expected = network.weights(), plain(lr).sr
    for depth in (BLOCKS, BLOCKS + 7.5):
        assert torch.equal(weights.run(OPS, lr, torch.full((1, *weights.map_shape(6, 9)), depth)), expected)
    assert torch.equal(network(lr).sr, expected)


@kinds
@torch.no_grad()
def test_depth_zero_leaves_only_the_skips(backbone: str, depth_tile: int) -> None:
    weights, lr = random_network(config_of(backbone, depth_tile)).weights(), torch.rand(1, 3, 6, 9) * 255
    z0 = z = weights.head.run(OPS, lr)
    for group in weights.body.groups:
        z = z if group.conv is None else group.conv.run(OPS, z) + z
    closing = weights.body.exit_conv(0)
    assert closing is not None
    expected = weights.restore(OPS, lr, closing.run(OPS, z) + z0)
    torch.testing.assert_close(weights.run(OPS, lr, torch.zeros(1, *weights.map_shape(6, 9))), expected)


@kinds
def test_a_model_holds_copies_of_the_parameters(backbone: str, depth_tile: int) -> None:
    network = random_network(config_of(backbone, depth_tile))
    model = network.model()
    lr = torch.rand(1, 3, 5, 6) * 255
    with torch.no_grad():
        expected = network(lr, 1.5).sr
        again = Network.of(model)
        assert torch.equal(again(lr, 1.5).sr, expected)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(again(lr, 1.5).sr, expected)
    assert all(value.dtype == np.float32 and value.any() for value in model.tensors.values())
    assert all(parameter.requires_grad for parameter in again.parameters())


@kinds
def test_gradients_reach_all_parameters_but_adapters_that_predict_errors(backbone: str, depth_tile: int) -> None:
    network = random_network(config_of(backbone, depth_tile, n_feats=16))
    network(torch.rand(1, 3, 12, 13) * 255, 1.3).sr.mean().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    adapter = {name for name, _ in network.named_parameters() if name.startswith("adapter")}
    if network.weights().require_adapter().predicts_errors:  # it learns by regression, not through the gates
        assert without == adapter
    else:
        assert without == set()
        assert any(network.get_parameter(name).grad.abs().sum() > 0 for name in adapter)


def test_the_desired_depth_enters_where_the_paper_puts_it() -> None:
    z0, desired = torch.randn(2, 16, 5, 6), torch.tensor([1.0, 3.0])
    per_image = desired.view(2, 1, 1, 1)
    networks = {name: random_network(config_of(name, 1, n_feats=16)) for name in ("edsr", "rcan")}

    def published(network: Network, z: Tensor) -> Tensor:
        adapter = network.weights().require_adapter()
        z = torch.conv2d(z, *adapter.first, padding=1)
        for part in adapter.rest:
            z = torch.conv2d(torch.where(z > 0, z, part.slope * z), *part.conv, padding=1)
        return z

    edsr, rcan = (networks[name].predict_depth(z0, desired) for name in ("edsr", "rcan"))
    torch.testing.assert_close(edsr, torch.relu(published(networks["edsr"], z0) * per_image))
    torch.testing.assert_close(rcan, torch.relu(published(networks["rcan"], z0 * per_image)))
    assert edsr.shape == (2, 1, 5, 6)
    assert rcan.shape == (2, 2, 5, 6)


@torch.no_grad()
def test_one_depth_serves_a_batch_as_one_for_each() -> None:
    network = random_network(config_of("edsr"))
    lr = torch.rand(3, 3, 5, 6) * 255
    assert torch.equal(network(lr, 2.0).sr, network(lr, torch.tensor([2.0, 2.0, 2.0])).sr)


@settings(max_examples=15)
@given(height=sizes, width=sizes)
@torch.no_grad()
def test_tiles_that_reach_over_the_border_work(height: int, width: int) -> None:
    network = random_network(config_of("edsr", 4))
    sr, depth_map = network(torch.rand(1, 3, height, width) * 255, 2.0)
    assert depth_map.shape == (1, 1, -(-height // 4), -(-width // 4))
    # The deepest tile lifts those around it, and equal gains all count.
    assert 2.0 - 1e-3 <= float(depth_map.mean()) <= 2.0 + 8 / depth_map.numel() + 1e-3
    assert sr.shape == (1, 3, 2 * height, 2 * width)


def random_scores(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), height=sizes, width=sizes, share=st.floats(0.02, 0.98))
@pytest.mark.parametrize("backbone", ["edsr", "rcan"])
def test_training_and_inference_make_the_same_depths(
    backbone: str, seed: int, height: int, width: int, share: float
) -> None:
    network, shares = build(backbone, 4), (share, 1 - share)
    scores = random_scores(seed, 2, BLOCKS + 1, height, width)
    depths = depths_at(network, scores, torch.tensor(shares) * BLOCKS)
    for index, part in enumerate(shares):
        expected = family_of(network, scores[index].numpy()).at_depth(np.float32(part) * BLOCKS)
        # The desired depth is rounded, and a tile and the eight that it raises gain alike.
        assert np.abs(depths[index].numpy() - expected).sum(axis=(1, 2)).max() <= 9
    pixels = build(backbone)
    published = random_scores(seed, 1, pixels.n_groups, height, width)
    ours = depths_at(pixels, published, torch.ones(1))
    np.testing.assert_array_equal(ours[0].numpy(), family_of(pixels, published[0].numpy()).at_depth(1.0))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), depth=st.integers(0, BLOCKS))
def test_predicted_errors_are_those_of_the_formula(seed: int, depth: int) -> None:
    scores = random_scores(seed, 2, BLOCKS + 1, 3, 4).double()
    hinges = (torch.arange(1, BLOCKS + 1) - depth).clamp_min(0).view(1, -1, 1, 1)
    expected = scores[:, :1].exp() * (1 + (hinges * torch.log1p(scores[:, 1:].exp())).sum(1, keepdim=True))
    torch.testing.assert_close(predicted_error(scores, torch.full((2, 1, 3, 4), float(depth))), expected)


def test_a_deeper_tile_is_one_that_gains_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that differ only in the size of their error: the larger the error, the more a block gains."""
    monkeypatch.setattr(calibration, "NEIGHBOUR_SHARE", 1.0)
    network = build("edsr", 4)
    scores = torch.zeros(1, BLOCKS + 1, 1, 5)
    scores[0, 0, 0] = torch.tensor([3.0, 1.0, 4.0, 0.0, 2.0])
    depths = depths_at(network, scores, torch.tensor([BLOCKS / 2]))[0, 0, 0]
    ordered = depths[scores[0, 0, 0].argsort()]
    assert (ordered[1:] >= ordered[:-1]).all()
    assert depths.sum() == BLOCKS * 5 // 2


def test_a_plain_network_runs_at_full_depth_only() -> None:
    with pytest.raises(InputError, match="edsr has no adapter, so it runs at full depth only"):
        Network(NetworkConfig("edsr", 2, 8, 2))(torch.zeros(1, 3, 4, 4), 2.0)


def test_random_weights_are_those_of_torchs_layers() -> None:
    """Spread of weights and biases as in `nn.Conv2d`, slopes of 0.25."""
    values = random_network(NetworkConfig("edsr", 2, 64, 2, adaptive=True)).state_dict()
    bound = (9 * 64) ** -0.5
    for name in ("body.blocks.0.conv1.weight", "body.blocks.0.conv1.bias"):
        assert 0.9 * bound < values[name].abs().max() <= bound
    assert (values["adapter.rest.0.activation.weight"] == 0.25).all()
