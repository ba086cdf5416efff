"""Image files and a network for the tests of `batch` and of the command."""

import numpy as np
import torch

from adadsr import images
from adadsr.networks import Model, Network, NetworkConfig
from adadsr.upscaler import Chain, Upscaler

TINY = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=2, adaptive=True, depth_tile=4)


def write(path, height=12, width=10, channels=3, alpha=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    if alpha is not None:
        pixels[..., -1] = alpha
    images.write_image(path, images.picture_from_array(pixels))
    return path


def tiny_model() -> Model:
    """A network of TINY, always the same."""
    torch.manual_seed(0)
    return Network(TINY).model()


def tiny_chain():
    return Chain.of(Upscaler(tiny_model(), name="tiny"))
