"""What the GPU benchmarks run: networks, image sizes, depth maps of a density, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from adadsr.graph import NetworkWeights, price
from adadsr.graph.depth import expand_tiles
from adadsr.graph.price import body_macs
from adadsr.networks import NetworkConfig, named_config

NETWORKS = {
    "edsr-x2": named_config("adaedsr", 2, depth_tile=4),
    "edsr-baseline-x2": named_config("adaedsr-baseline", 2, depth_tile=4),
    "adarcan-x2": named_config("adarcan", 2, depth_tile=4),
}
SIZES = ((512, 512), (180, 320))
BATCHES = (1, 8)
DENSITIES = (1.0, 0.75, 0.5, 0.25, 0.1)
MASKS = {"tiles": 4, "pixels": 1}
SMOOTH = 32
"""LR pixels over which depth maps vary, about."""


@dataclass(frozen=True)
class Case:
    """A network on a batch of LR images."""

    name: str
    config: NetworkConfig
    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.name} {self.batch}x{self.height}x{self.width}"


def cases(networks: dict[str, NetworkConfig] = NETWORKS, batches: Sequence[int] = BATCHES) -> list[Case]:
    """All of them, those that matter most first."""
    return [
        Case(name, config, batch, *size) for batch in batches for size in SIZES for name, config in networks.items()
    ]


def depth_map(case: Case, side: int, density: float) -> np.ndarray:
    """A smooth random map of whole blocks, (N, G, h, w), of which a share `density` of all blocks is active.

    Depths are spread evenly as widely as the density allows: from 0 to twice the mean, or from as far below full depth.
    """
    generator = torch.Generator().manual_seed(0)
    blocks, groups = case.config.n_resblocks, case.config.n_groups
    size = -(-case.height // side), -(-case.width // side)
    coarse = [max(2, length * side // SMOOTH) for length in size]
    noise = F.interpolate(torch.rand(case.batch, groups, *coarse, generator=generator), size, mode="bicubic")
    ranks = noise.flatten(2).argsort(dim=2).argsort(dim=2).view(noise.shape) / (noise[0, 0].numel() - 1)
    spread = min(density, 1 - density)
    return ((density - spread + 2 * spread * ranks) * blocks).round().numpy()


def executed_macs(case: Case, network: NetworkWeights, depths: np.ndarray | None, side: int) -> int:
    """Multiply-accumulates of a forward: of the dense network without an adapter where there is no depth map."""
    size = case.height, case.width
    cost, body = price(network, *size), network.body._replace(depth_tile=side)
    adapter = 0 if depths is None else network.require_adapter().macs(*size)
    return case.batch * (cost.head + adapter + cost.tail) + body_macs(body, *size, depths, case.batch)


def moved_bytes(case: Case, depths: np.ndarray | None, side: int, size: int = 2) -> int:
    """Bytes of features that the body's steps read and write, each once a step, and of weights; `size` of a number.

    A first conv reads z and writes hidden features, a second one reads those and z and writes z. With channel attention
    the second one writes an update, and a third step reads that and z and writes z.
    """
    config, pixels = case.config, case.batch * case.height * case.width
    weights = 9 * config.n_feats**2
    convs = 2 * config.n_resblocks * config.n_groups + (config.n_groups if config.n_groups > 1 else 0) + 1
    if depths is None:
        positions = pixels * config.n_resblocks * config.n_groups
    else:
        positions = int(expand_tiles(depths, side, case.height, case.width).sum(dtype=np.float64))
    closing = 3 * pixels * (config.n_groups if config.n_groups > 1 else 0) + 3 * pixels
    accesses = 5 if config.backbone == "edsr" else 7
    return size * (config.n_feats * (accesses * positions + closing) + convs * weights)
