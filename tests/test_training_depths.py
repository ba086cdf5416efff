"""Depths that the images of a batch share."""

import pytest
import torch

from adadsr.errors import InputError
from adadsr.models import build
from adadsr.training import Stage
from adadsr.training.depths import desired_depths
from adadsr.training.forward import Forward, predict_together

N_BLOCKS = 16


def shared(full_share=0.25):
    return Stage(steps=1, batch=8, patch=8, learning_rate=1e-4, adaptive=True, shared_depth=True, full_share=full_share)


@pytest.mark.parametrize(("full_share", "full"), [(0.0, 0), (0.25, 2), (1.0, 8)])
def test_images_below_full_depth_share_one(full_share, full):
    depths = desired_depths(shared(full_share), N_BLOCKS, torch.Generator().manual_seed(0))
    assert (depths[:full] == N_BLOCKS).all()
    assert len(set(depths[full:].tolist())) <= 1


@pytest.mark.parametrize("hardness", [0.0, 1.0])
@pytest.mark.parametrize(("network", "groups"), [("adaedsr-baseline", 1), ("adarcan-small", 5)])
def test_together_their_maps_meet_it(network, groups, hardness):
    torch.manual_seed(0)
    network = build(network, 2, 4)
    blocks = network.config.n_resblocks
    desired = torch.tensor([blocks, blocks * 0.4, blocks * 0.4, blocks])
    z0 = torch.randn(4, 64, 16, 12)
    z0[1] *= 10
    with torch.no_grad():
        depth_map = predict_together(network, z0, desired, hardness)
    assert depth_map.shape == (4, groups, 4, 3)
    assert (depth_map[[0, 3]] == blocks).all()
    run = depth_map[1:3].ceil() if hardness else depth_map[1:3]
    assert float(run.mean()) == pytest.approx(blocks * 0.4, abs=2 / run.numel() if hardness else 1e-3)
    assert abs(float(run[0].mean()) - blocks * 0.4) > 1e-3  # one image alone need not meet it


def test_one_image_alone_is_what_it_always_was():
    torch.manual_seed(0)
    network, lr = build("adaedsr-baseline", 2, 4), torch.rand(1, 3, 16, 16) * 255
    forward, desired = Forward(network, bfloat16=False), torch.tensor([5.0])
    torch.testing.assert_close(forward(lr, desired, shared_depth=True).sr, forward(lr, desired).sr)


def test_sharing_contradicts_a_sandwich():
    with pytest.raises(InputError, match="contradict"):
        Stage(steps=1, batch=8, patch=8, learning_rate=1e-4, adaptive=True, shared_depth=True, sandwich=True)
