"""Closing convs of exits, fitted: what makes a dense network good at less depth before it trains."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.adaptation.photos import Told
from adadsr.adaptation.targets import SEED
from adadsr.datasets import Pair
from adadsr.graph import ConvWeights
from adadsr.networks import Network
from adadsr.tensor_ops import OPS

ENOUGH_PIXELS = 36_000
"""LR pixels to fit one exit on: 60 for each of the 577 unknowns of a conv of 64 channels. None serves two exits."""
RIDGE = 1e-6
"""Of the mean diagonal of the normal equations: channels that are always 0 need some."""
UNIFORM_EVERY = 5
NOISE = 0.6
"""Of mixed depths, as a share of all blocks, before its mean over 3x3 tiles."""


class _Fit:
    """Least squares of what a 3x3 conv lacks, from the sums over all pixels so far."""

    def __init__(self, conv: ConvWeights) -> None:
        inputs, outputs = 9 * conv.weight.shape[1] + 1, len(conv.bias)
        self.squares: npt.NDArray[np.float64] = np.zeros((inputs, inputs))
        self.products: npt.NDArray[np.float64] = np.zeros((inputs, outputs))

    def add(self, z: Tensor, lacking: Tensor, at: Tensor) -> None:
        """z: features, (1, C, H, W). lacking: from the conv's result, the same shape. at: where, (1, 1, H, W)."""
        chosen = at.flatten()
        if not chosen.any():
            return
        windows = F.unfold(z, 3, padding=1)[0].T[chosen]
        columns = torch.cat([windows, windows.new_ones(len(windows), 1)], dim=1)
        self.squares += (columns.T @ columns).double().cpu().numpy()
        self.products += (columns.T @ lacking[0].flatten(1).T[chosen]).double().cpu().numpy()

    def add_to(self, conv: ConvWeights) -> None:
        """Add what it lacks to the conv; nothing if no pixel was seen."""
        ridge = RIDGE * self.squares.diagonal().mean() or 1.0
        solved = np.linalg.solve(self.squares + ridge * np.eye(len(self.squares)), self.products)
        values = torch.from_numpy(solved.astype(np.float32)).to(conv.weight.device)
        conv.weight.add_(values[:-1].T.reshape(conv.weight.shape))
        conv.bias.add_(values[-1])


@torch.no_grad()
def fit_exits(network: Network, pairs: Sequence[Pair], precision: str, tell: Told) -> None:
    """Fit the closing convs of the exits to what the whole body gives: linear least squares, no training.

    Depths are mixed as an adapter would mix them. Where all tiles around run as deep, features are others than where
    some of them run deeper, and an exit that has only seen the former is useless (dev/LOG.md).

    pairs: LR crops, of which some are enough. precision: as of training. All but the exits stays as it is.
    """
    weights = network.weights()
    body = weights.body
    chosen = _spread(pairs, ENOUGH_PIXELS * len(body.exits))
    device = body.exits[0].weight.device
    generator = torch.Generator().manual_seed(SEED)
    fits = [_Fit(conv) for conv in body.exits]
    for index, pair in enumerate(chosen):
        lr = pair.lr[None].to(device).float()
        z0 = weights.head.run(OPS, lr if weights.square == 1 else F.pixel_unshuffle(lr, weights.square))
        depth_map = mixed_depths(*weights.map_shape(*z0.shape[-2:])[1:], body.n_blocks, generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            closed = body.run(OPS, z0) - z0
            z = body._replace(conv=None, exits=()).run(OPS, z0, depth_map)
        depths = OPS.expand_tiles(depth_map, body.depth_tile, *z0.shape[-2:])
        for n_blocks, (fit, conv) in enumerate(zip(fits, body.exits, strict=True)):
            lacking = closed.float() - conv.run(OPS, z.float())
            fit.add(z.float(), lacking, depths == n_blocks)
        tell("fitting closing convs", (index + 1) / len(chosen))
    for fit, conv in zip(fits, body.exits, strict=True):
        fit.add_to(conv)


def mixed_depths(height: int, width: int, n_blocks: int, generator: torch.Generator) -> Tensor:
    """A random depth map, (1, 1, height, width), in whole blocks: areas of similar depth with some noise.

    One in `UNIFORM_EVERY` is the same everywhere.
    """
    level = torch.rand((), generator=generator)
    if torch.rand((), generator=generator) < 1 / UNIFORM_EVERY:
        return torch.full((1, 1, height, width), float((level * (n_blocks + 1)).floor().clamp(0, n_blocks)))
    areas = F.interpolate(torch.rand(1, 1, 3, 3, generator=generator), size=(height, width), mode="bilinear")
    noise = F.avg_pool2d(torch.rand(1, 1, height + 2, width + 2, generator=generator), 3, stride=1)
    mixed = areas + NOISE * (noise - 0.5) + level - 0.5
    return (mixed * (n_blocks + 1)).floor().clamp(0, n_blocks)


def _spread(pairs: Sequence[Pair], pixels: int) -> list[Pair]:
    """Pairs spread evenly over the list, with about `pixels` LR pixels in all."""
    mean = sum(pair.lr[0].numel() for pair in pairs) / len(pairs)
    count = min(len(pairs), max(1, round(pixels / mean)))
    return [pairs[int(index)] for index in np.linspace(0, len(pairs) - 1, count)]
