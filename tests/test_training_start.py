"""What a run starts with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.datasets import load_pairs
from adadsr.errors import InputError
from adadsr.graph import ResidualBlock
from adadsr.metrics import psnr_y
from adadsr.networks import Network, NetworkConfig
from adadsr.resize import bicubic_upscale
from adadsr.tensor_ops import OPS
from adadsr.training import validate
from adadsr.training.start import interpolating_init, start_from
from training_samples import build


def no_patches() -> torch.Tensor:
    """For starts that need none."""
    raise AssertionError


def patches() -> torch.Tensor:
    """LR patches of noise with large and small structure."""
    generator = torch.Generator().manual_seed(3)
    coarse, fine = (torch.rand(6, 3, side, side, generator=generator) * 255 for side in (6, 36))
    return 0.7 * F.interpolate(coarse, (36, 36), mode="bicubic") + 0.3 * fine


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_fresh_network_upsamples_bilinearly(scale: int) -> None:
    network = Network(NetworkConfig("edsr", scale, 64, 4), torch.Generator().manual_seed(0))
    interpolating_init(network)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(20.0), indexing="ij")
    lr = (128 + 80 * torch.sin(rows / 4) * torch.cos(columns / 5)).expand(1, 3, -1, -1)
    with torch.inference_mode():
        difference = network(lr).sr - F.interpolate(lr, scale_factor=scale, mode="bilinear")
    assert difference[..., 8:-8, 8:-8].abs().mean() < 4


def test_a_run_starts_from_a_plain_or_adaptive_checkpoint(tmp_path: Path) -> None:
    plain, adaptive = Network(NetworkConfig("edsr", 2, 8, 2)), build("adatiny", 2, 4)
    checkpoints.save(plain.model(), tmp_path / "plain.safetensors")
    checkpoints.save(adaptive.model(), tmp_path / "adaptive.safetensors")
    for source, started in ((plain, adaptive), (adaptive, plain), (adaptive, build("adatiny", 2, 4))):
        name = "adaptive" if source.config.adaptive else "plain"
        given = checkpoints.load(tmp_path / f"{name}.safetensors").tensors
        start_from(started, str(tmp_path / f"{name}.safetensors"), no_patches)
        shared = given.keys() & started.state_dict().keys()
        assert shared >= plain.state_dict().keys()
        assert all(np.array_equal(started.state_dict()[key], given[key]) for key in shared)


@pytest.mark.parametrize("scale", [3, 4])
def test_a_start_from_x2_beats_bicubic(scale: int) -> None:
    pairs = load_pairs(Path(__file__).parents[1] / "assets", scale)
    network = build("edsr-baseline", scale)
    start_from(network, "edsr-baseline-x2", no_patches)
    lr, hr = (image.permute(1, 2, 0).numpy() for image in pairs[0][:2])
    assert validate(network.model(), pairs)[1.0] > psnr_y(bicubic_upscale(lr, scale), hr, scale) + 0.3


@pytest.mark.parametrize("scale", [2, 3])
def test_a_start_from_another_scale_keeps_the_body(scale: int, tmp_path: Path) -> None:
    given = build("tiny", 4)
    checkpoints.save(given.model(), tmp_path / "x4.safetensors")
    started = build("adatiny", scale, 4)
    start_from(started, str(tmp_path / "x4.safetensors"), no_patches)
    for name, value in given.state_dict().items():
        if not name.startswith("tail.upsample"):
            assert torch.equal(started.state_dict()[name], value)


@pytest.mark.parametrize("config", [NetworkConfig("edsr", 2, 9, 2), NetworkConfig("edsr", 2, 8, 3)])
def test_a_start_from_another_network_is_refused(config: NetworkConfig, tmp_path: Path) -> None:
    checkpoints.save(Network(config).model(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"start_from=.*other\.safetensors: .* differs from the recipe's network"):
        start_from(build("adatiny", 2, 4), str(tmp_path / "other.safetensors"), no_patches)


def test_a_tail_that_cannot_be_resampled_is_refused(tmp_path: Path) -> None:
    checkpoints.save(build("tiny-compact", 3).model(), tmp_path / "x3.safetensors")
    with pytest.raises(InputError, match=r"x3\.safetensors is x3; compact needs the recipe's scale"):
        start_from(build("tiny-compact", 2), str(tmp_path / "x3.safetensors"), no_patches)


@pytest.fixture
def edsr(tmp_path: Path) -> tuple[Network, str]:
    """An EDSR of 5 blocks whose residuals are as small as trained ones, and its file."""
    network = Network(NetworkConfig("edsr", 2, 16, 5), torch.Generator().manual_seed(1))
    with torch.no_grad():
        for block in network.weights().body.blocks:
            assert isinstance(block, ResidualBlock)
            block.conv2.weight.mul_(0.5)
    checkpoints.save(network.model(), tmp_path / "edsr.safetensors")
    return network, str(tmp_path / "edsr.safetensors")


@torch.no_grad()
def error_of_body(ours: Network, theirs: Network, lr: torch.Tensor, depth: int) -> float:
    """Difference of the bodies' results far from the border, at a depth in each group, relative to what theirs adds."""
    z0 = theirs.weights().head.run(OPS, lr)
    groups = ours.weights().body.groups
    expected = theirs.weights().body.shallow(depth * len(groups)).run(OPS, z0)
    difference = ours.weights().body.shallow(depth).run(OPS, z0) - expected
    inner = (..., slice(12, -12), slice(12, -12))
    return float(difference[inner].norm() / (expected - z0)[inner].norm())


def test_an_rcan_of_as_many_groups_as_an_edsr_has_blocks_starts_as_it(edsr: tuple[Network, str]) -> None:
    """With one block of the EDSR in each group only borders differ, and other blocks change nothing, at any depth."""
    theirs, path = edsr
    started = Network(NetworkConfig("rcan", 2, 16, 3, 5, adaptive=True, depth_tile=4))
    start_from(started, path, patches)
    unseen = patches().flip(-1)
    assert error_of_body(started, theirs, unseen, depth=1) < 0.02
    assert error_of_body(started, theirs, unseen, depth=3) == error_of_body(started, theirs, unseen, depth=1)
    assert torch.equal(started.state_dict()["tail.conv.weight"], theirs.state_dict()["tail.conv.weight"])


def test_an_rcan_of_fewer_groups_starts_close_to_an_edsr(edsr: tuple[Network, str]) -> None:
    theirs, path = edsr
    started = Network(NetworkConfig("rcan", 2, 16, 4, 2), torch.Generator().manual_seed(2))
    fresh = error_of_body(started, theirs, patches(), depth=4)
    start_from(started, path, patches)
    assert error_of_body(started, theirs, patches().flip(-1), depth=4) < min(0.1, fresh)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig("rcan", 2, 16, 2, 2), r"n_resblocks=5 is more than the 2 groups of 2 blocks of the recipe's"),
        (NetworkConfig("rcan", 2, 32, 2, 3), "n_feats=16 differs from the recipe's network"),
    ],
)
def test_an_rcan_that_an_edsr_does_not_fit_is_refused(
    edsr: tuple[Network, str], config: NetworkConfig, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        start_from(Network(config), edsr[1], no_patches)
