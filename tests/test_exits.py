"""Closing convs of exits: each position closes by the conv of the depth at which it stops; how they are fitted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr import Execution, Upscaler, batch, checkpoints, images
from adadsr.adaptation.exits import fit_exits, mixed_depths
from adadsr.datasets import Pair
from adadsr.errors import InputError
from adadsr.graph import BodyWeights
from adadsr.graph.calibration import family_of
from adadsr.graph.depth import mean_around
from adadsr.networks import Network, NetworkConfig
from adadsr.networks.depth_maps import depths_at
from adadsr.tensor_ops import OPS
from adadsr.training.convs import TorchConvs
from adadsr.training.start import start_from
from adadsr.upscaler import Chain, Target
from cli_samples import call
from graph_samples import BLOCKS, build, tensors
from upscaler_samples import model_of, photo

EXITS = NetworkConfig("esrgan", 2, 8, BLOCKS, adaptive=True, depth_tile=4, growth=4, exits=True)


def body_and_features() -> tuple[BodyWeights, torch.Tensor]:
    network = tensors(build("esrgan", 4), torch.float64)
    z0 = torch.randn(1, network.channels, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return network.body, z0


@pytest.mark.parametrize("depth", range(BLOCKS + 1))
def test_one_depth_everywhere_is_the_shallow_body(depth: int) -> None:
    body, z0 = body_and_features()
    depth_map = torch.full((1, 1, 2, 3), float(depth), dtype=torch.float64)
    expected = body.shallow(depth).run(OPS, z0)
    assert torch.allclose(body.run(OPS, z0, depth_map), expected)
    assert torch.allclose(TorchConvs().run_exits(body, z0, (depth,)), expected)


def test_each_tile_closes_by_the_conv_of_its_depth() -> None:
    body, z0 = body_and_features()
    depths = torch.tensor([[0.0, 1, 2], [3, 0.5, 2.5]], dtype=torch.float64)[None, None]
    closed = body.run(OPS, z0, depths) - z0
    before = body._replace(conv=None, exits=()).run(OPS, z0, depths)
    for row, column in np.ndindex(2, 3):
        conv = body.exit_conv(int(depths[0, 0, row, column].ceil()))
        assert conv is not None
        tile = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
        assert torch.allclose(closed[(..., *tile)], conv.run(OPS, before)[(..., *tile)])


def test_full_depth_needs_no_exit() -> None:
    body, z0 = body_and_features()
    depth_map = torch.full((1, 1, 2, 3), float(BLOCKS), dtype=torch.float64)
    assert torch.allclose(body.run(OPS, z0, depth_map), body._replace(exits=()).run(OPS, z0))


def test_tiles_close_as_the_whole() -> None:
    """Within a level at all but one sample in a thousand, where tiles see less than the network's reach."""
    config = replace(EXITS, n_resblocks=6)
    model, image = model_of(config), photo(160, 64)
    assert model.weights().body.exits
    depths = np.random.default_rng(0).integers(0, 7, (1, 40, 16)).astype(np.float32)
    prepared = [Upscaler(model, Execution(tile=side)).prepare(image) for side in (None, 20)]
    plans = [each.plan(depth_map=depths) for each in prepared]
    assert len(plans[1].tiles) > 1
    assert not plans[1].exact
    whole, tiled = (each.run(plan).image.astype(int) for each, plan in zip(prepared, plans, strict=True))
    assert np.percentile(np.abs(whole - tiled), 99.9) <= 1


def test_fitting_brings_other_pictures_closer_to_full_depth() -> None:
    network = Network(EXITS, torch.Generator().manual_seed(0))
    weights, generator, told = network.weights(), torch.Generator().manual_seed(1), list[float]()
    lr = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=generator)
    z0 = weights.head.run(OPS, lr[32:].float())
    maps = torch.cat([mixed_depths(6, 6, BLOCKS, generator) for _ in z0])

    def error() -> float:
        with torch.no_grad():
            return float((weights.body.run(OPS, z0, maps) - weights.body.run(OPS, z0)).square().mean())

    for conv in weights.body.exits:
        for mine, theirs in zip(conv, weights.body.conv or (), strict=True):
            mine.data.copy_(theirs.data)
    before, full = error(), [parameter.clone() for name, parameter in network.named_parameters() if "exits" not in name]
    fit_exits(network, [Pair(image, image) for image in lr[:32]], "float32", lambda what, share: told.append(share))
    assert error() < 0.8 * before
    kept = [parameter for name, parameter in network.named_parameters() if "exits" not in name]
    assert all(torch.equal(*pair) for pair in zip(full, kept, strict=True))
    assert told[-1] == 1


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_each_exit_is_fitted_on_as_many_pixels(n_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a network has."""
    monkeypatch.setattr("adadsr.adaptation.exits.ENOUGH_PIXELS", 16 * 16)
    network, told = Network(replace(EXITS, n_resblocks=n_blocks)), list[float]()
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    fit_exits(network, [Pair(image, image)] * 8, "float32", lambda what, share: told.append(share))
    assert len(told) == len(network.weights().body.exits) == n_blocks


def test_mixed_depths_reach_all_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.cat([mixed_depths(5, 7, BLOCKS, generator) for _ in range(50)])
    assert maps.shape == (50, 1, 5, 7)
    assert maps.unique().tolist() == [0, 1, 2, 3]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 9), width=st.integers(1, 9), share=st.floats(0.02, 0.98))
def test_with_exits_training_and_inference_smooth_alike(seed: int, height: int, width: int, share: float) -> None:
    network = build("esrgan", 4)
    scores = torch.randn(1, BLOCKS + 1, height, width, generator=torch.Generator().manual_seed(seed))
    depths = depths_at(network, scores, torch.tensor([share]) * BLOCKS)[0].numpy()
    expected = family_of(network, scores[0].numpy()).at_depth(np.float32(share) * BLOCKS)
    assert np.abs(depths - expected).sum() <= 9  # a tile and the eight that it raises gain alike


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_mean_around_a_position_is_that_of_nine(seed: int, height: int, width: int) -> None:
    values = np.random.default_rng(seed).random((2, height, width), np.float32)
    wide = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    nine = [wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    np.testing.assert_allclose(mean_around(values), np.mean(nine, axis=0), rtol=1e-5)


REFUSED = (
    "max_loss=0.5: adapted was adapted to its own full output, so it predicts no loss of PSNR; pass budget instead"
)


def test_a_network_with_exits_predicts_no_loss() -> None:
    """Its target has no error at full depth, so in dB every loss is infinite."""
    upscaler = Upscaler(model_of(EXITS), name="adapted")
    prepared = upscaler.prepare(photo(24, 24))
    plan = prepared.plan(budget=0.8)
    assert plan.depth_map is not None
    assert plan.predicted_loss is None
    assert prepared.run(plan).report.predicted_loss is None
    assert prepared.plan().predicted_loss == prepared.plan(max_loss=0).predicted_loss == 0
    curve = prepared.curve(np.array([1e-3, 1.0], np.float32))
    assert curve is not None
    assert curve.full is None


def test_a_limit_on_the_loss_is_refused_with_exits() -> None:
    upscaler = Upscaler(model_of(EXITS), name="adapted")
    prepared, chain = upscaler.prepare(photo(8, 8)), Chain.of(upscaler)
    for ask in (
        lambda: upscaler(photo(8, 8), max_loss=0.5),
        lambda: prepared.plan(max_loss=0.5),
        lambda: chain(images.picture_from_array(photo(8, 8)), max_loss=0.5),
        lambda: batch.check_target(chain, batch.Options(Target(max_loss=0.5))),
    ):
        with pytest.raises(InputError, match=REFUSED):
            ask()


def test_the_command_prints_no_loss_of_a_network_with_exits(here: Path) -> None:
    checkpoints.save(model_of(EXITS), "adapted.safetensors")
    images.write_image("a.png", images.picture_from_array(photo(24, 24)))
    options = ("a.png", "-o", "b.png", "-m", "adapted.safetensors", "--device", "cpu")
    for more in ((), ("--dry-run",)):
        result = call("upscale", *options, "--budget", "0.8", "--overwrite", *more)
        assert (result.exit_code, "loss" in result.stdout) == (0, False), result.output
        assert "of the full network's cost" in result.stdout
    result = call("upscale", *options, "--max-loss", "0.5", "--overwrite")
    assert (result.exit_code, REFUSED in result.stderr) == (1, True)


def test_exits_start_as_the_closing_conv(tmp_path: Path) -> None:
    dense = replace(EXITS, adaptive=False, depth_tile=1, exits=False)
    checkpoints.save(model_of(dense), tmp_path / "dense.safetensors")
    network = Network(EXITS)
    start_from(network, str(tmp_path / "dense.safetensors"), lambda: torch.zeros(1, 3, 8, 8))
    body = network.weights().body
    assert body.conv is not None
    assert all(torch.equal(mine, theirs) for conv in body.exits for mine, theirs in zip(conv, body.conv, strict=True))


@pytest.mark.parametrize(
    "changes", [{"adaptive": False, "depth_tile": 1}, {"backbone": "edsr", "growth": 0}], ids=["dense", "edsr"]
)
def test_only_an_adaptive_esrgan_has_exits(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="exits=True: only an adaptive esrgan has closing convs for exits, not "):
        NetworkConfig(**{**EXITS.__dict__, **changes})
