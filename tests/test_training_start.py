"""What a run starts with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.datasets import load_pairs
from adadsr.errors import InputError
from adadsr.metrics import psnr_y
from adadsr.networks import Network, NetworkConfig
from adadsr.resize import bicubic_upscale
from adadsr.training import validate
from adadsr.training.start import interpolating_init, start_from
from training_samples import build


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
        start_from(started, str(tmp_path / f"{name}.safetensors"))
        shared = given.keys() & started.state_dict().keys()
        assert shared >= plain.state_dict().keys()
        assert all(np.array_equal(started.state_dict()[key], given[key]) for key in shared)


@pytest.mark.parametrize("scale", [3, 4])
def test_a_start_from_x2_beats_bicubic(scale: int) -> None:
    pairs = load_pairs(Path(__file__).parents[1] / "assets", scale)
    network = build("edsr-baseline", scale)
    start_from(network, "edsr-baseline-x2")
    lr, hr = (image.permute(1, 2, 0).numpy() for image in pairs[0][:2])
    assert validate(network.model(), pairs)[1.0] > psnr_y(bicubic_upscale(lr, scale), hr, scale) + 0.3


@pytest.mark.parametrize("scale", [2, 3])
def test_a_start_from_another_scale_keeps_the_body(scale: int, tmp_path: Path) -> None:
    given = build("tiny", 4)
    checkpoints.save(given.model(), tmp_path / "x4.safetensors")
    started = build("adatiny", scale, 4)
    start_from(started, str(tmp_path / "x4.safetensors"))
    for name, value in given.state_dict().items():
        if not name.startswith("tail.upsample"):
            assert torch.equal(started.state_dict()[name], value)


@pytest.mark.parametrize("config", [NetworkConfig("edsr", 2, 9, 2), NetworkConfig("edsr", 2, 8, 3)])
def test_a_start_from_another_network_is_refused(config: NetworkConfig, tmp_path: Path) -> None:
    checkpoints.save(Network(config).model(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"start_from=.*other\.safetensors: .* differs from the recipe's network"):
        start_from(build("adatiny", 2, 4), str(tmp_path / "other.safetensors"))


def test_a_tail_that_cannot_be_resampled_is_refused(tmp_path: Path) -> None:
    checkpoints.save(build("tiny-compact", 3).model(), tmp_path / "x3.safetensors")
    with pytest.raises(InputError, match=r"x3\.safetensors is x3; compact needs the recipe's scale"):
        start_from(build("tiny-compact", 2), str(tmp_path / "x3.safetensors"))
