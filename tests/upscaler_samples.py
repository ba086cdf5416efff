"""Models and pictures for the tests of `Upscaler`, and an engine that writes down what it is asked for."""

import numpy as np
import numpy.typing as npt
import torch

from adadsr.backends import Engine
from adadsr.geometry import Box
from adadsr.graph import Cost
from adadsr.networks import Model, Network, NetworkConfig

BLOCKS = 4
CONFIGS = {
    "adaedsr": NetworkConfig("edsr", 2, 16, BLOCKS, adaptive=True),
    "adaedsr-tiles": NetworkConfig("edsr", 2, 16, BLOCKS, adaptive=True, depth_tile=4),
    "adarcan": NetworkConfig("rcan", 2, 16, BLOCKS, 2, adaptive=True),
    "adarcan-tiles": NetworkConfig("rcan", 2, 16, BLOCKS, 2, adaptive=True, depth_tile=4),
    "adaesrgan-tiles": NetworkConfig("esrgan", 2, 8, BLOCKS, adaptive=True, depth_tile=4, growth=4),
}
DEEP = NetworkConfig("edsr", 2, 8, 32, adaptive=True, depth_tile=4)
"""As deep as the published network, so that the fixed parts leave room for a budget."""


def model_of(config: NetworkConfig) -> Model:
    """Random weights, always the same."""
    torch.manual_seed(0)
    return Network(config).model()


def photo(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A picture with a flat, a smooth and a noisy part."""
    rows, columns = np.mgrid[:height, :width]
    smooth = 128 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    noise = np.random.default_rng(seed).normal(0, 40, (height, width)) * (columns > width / 2)
    flat = np.where(rows > height / 2, smooth + noise, 90)
    return np.stack([flat, 255 - flat, flat * 0.5], -1).clip(0, 255).round().astype(np.uint8)


def tensor_photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """The same as float32 (3, H, W)."""
    return torch.from_numpy(photo(height, width, seed)).permute(2, 0, 1).float()


class Spy:
    """An engine that writes down each call, and what the calls cost as the network defines its convs."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.calls, self.cost, self.depth_maps = engine, [], Cost(), []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def count(self, name):
        """How many times a part ran."""
        return self.calls.count(name)

    def features(self, lr):
        self._saw("features", head=self.network.head.macs(*lr.shape[1:3]))
        return self._engine.features(lr)

    def scores(self, z0, desired_depth):
        self._saw("scores", adapter=self.network.adapter.macs(z0.height, z0.width))
        return self._engine.scores(z0, desired_depth)

    def body(self, z0, depth_map=None, progress=lambda share: None, revise=None, means=None):
        z = self._engine.body(z0, depth_map, progress, revise, means)
        self.depth_maps.append(depth_map)
        self._saw("body", body=z.macs)
        return z

    def tail(self, z, box):
        region = box.grown(self.network.tail.reach, Box(0, 0, z.height, z.width))
        self._saw("tail", tail=self.network.tail.macs(region.height, region.width))
        return self._engine.tail(z, box)

    def _saw(self, name, **macs):
        self.calls.append(name)
        self.cost += Cost(**macs)


def spied(upscaler):
    """The upscaler itself, and the spy that now is its engine."""
    upscaler.engine = Spy(upscaler.engine)
    return upscaler, upscaler.engine
