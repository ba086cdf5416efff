"""Mean PSNR on whole images at shares of the body's cost, the way inference runs them: whole blocks, an exact cost."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from adadsr.backends import DepthMap, Engine, as_squares, prepare, to_numpy
from adadsr.datasets import Pair, load_pairs
from adadsr.degradation import compress
from adadsr.geometry import Box
from adadsr.graph import Array, NetworkWeights
from adadsr.graph.calibration import Scores, family_of, fit_cost, keep_colors
from adadsr.graph.price import body_macs
from adadsr.metrics import psnr_y
from adadsr.networks import Model, NetworkConfig

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the body's multiply-accumulates at which an adaptive network is measured."""
LEAST_SIDE = 3
"""Side in LR pixels of which PSNR leaves something when it cuts off a border of one."""
HIGHEST = 60.0
"""PSNR in dB that counts at most: equal pictures would have an infinite one, rounding to 8 bits alone makes 58.9."""


def load_valid(
    folder: Path, config: NetworkConfig, cache: Path | None = None, reductions: tuple[int, ...] = (1,)
) -> list[Pair]:
    """`load_pairs` of photos to measure a network on, cropped to the squares of pixels that it sees."""
    scale, square = config.scale, config.unshuffle
    least = -(-LEAST_SIDE // square) * square
    return [_cropped(pair, scale, square) for pair in load_pairs(folder, scale, cache, reductions, least)]


def _cropped(pair: Pair, scale: int, square: int) -> Pair:
    """A pair whose LR sides are multiples of `square`."""
    height, width = (side // square * square for side in pair.lr.shape[-2:])
    return pair._replace(lr=pair.lr[:, :height, :width], hr=pair.hr[:, : scale * height, : scale * width])


def validate(
    model: Model, pairs: list[Pair], shares: Iterable[float] = SHARES, device: str = "cpu"
) -> dict[float, float]:
    """Share -> mean PSNR-Y in dB over whole images, on the fastest backend of a device.

    shares: of the body's multiply-accumulates that are executed, (0, 1]; 1 is every block everywhere, and all that is
    measured of a network without an adapter.
    """
    engine = prepare(model.weights(), device=device)
    totals = dict.fromkeys(shares if model.config.adaptive else (1.0,), 0.0)
    for pair in pairs:
        for share, value in _psnr_at(engine, pair, totals).items():
            totals[share] += value / len(pairs)
    return totals


def _psnr_at(engine: Engine, pair: Pair, shares: Iterable[float]) -> dict[float, float]:
    """PSNR-Y of one image at each share; head and, for most adapters, adapter run once."""
    network = engine.network
    lr = as_squares(pair.lr.permute(1, 2, 0)[None].float(), network.square)
    height, width = lr.shape[1:3]
    z0 = engine.features(lr)
    hr, reached, scores = pair.hr.permute(1, 2, 0).numpy(), {}, None
    for share in shares:
        depth_map = None
        if share < 1:
            if scores is None or network.require_adapter().uses_depth:
                scores = engine.scores(z0, share * network.n_blocks)
            depth_map = depth_map_at(network, scores[0], to_numpy(lr[0]), share)[None]
        sr = to_numpy(engine.tail(engine.body(z0, depth_map), Box(0, 0, height, width)))[0]
        shave = network.scale // network.square
        reached[share] = min(HIGHEST, psnr_y(np.rint(sr.clip(0, 255)).astype(np.uint8), hr, shave))
    return reached


def depth_map_at(network: NetworkWeights, scores: Scores, lr: Array, share: float) -> DepthMap:
    """The depth map in whole blocks that spends a share of the body's cost on an image.

    scores: of the adapter, (K, ceil(H/t), ceil(W/t)); tiles of one colour get others. lr: the image, (H, W, C).
    """
    height, width = lr.shape[:2]
    dense = body_macs(network.body, height, width)
    keep_colors(network, scores, lr)
    return fit_cost(
        family_of(network, scores),
        lambda depth_map: body_macs(network.body, height, width, depth_map[None]) / dense,
        share,
    )


def as_jpeg(pair: Pair, quality: int) -> Pair:
    """A pair whose LR image was written as JPEG and read again."""
    lr = compress(np.ascontiguousarray(pair.lr.permute(1, 2, 0).numpy()), quality, half_chroma=True)
    return pair._replace(lr=torch.from_numpy(lr.copy()).permute(2, 0, 1))


def in_words(scores: dict[float, float], reduction: int = 1, kind: str = "") -> dict[str, float]:
    """What `validate` returned, for people: full, 75%, 50%, 25% of the body -> dB with three decimals.

    reduction: of the photos; one of 2 makes that "1/2: full" and so on. kind: of their LR images, to begin with.
    """
    size = kind if reduction == 1 else f"{kind}1/{reduction}: "
    return {size + ("full" if share == 1 else f"{share:.0%}"): round(value, 3) for share, value in scores.items()}
