"""How close less than full depth comes to the full output: PSNR-Y to it against the share of the body that runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.adaptation.photos import Pixels, Told
from adadsr.adaptation.targets import upscaled
from adadsr.backends import Engine, as_squares, prepare
from adadsr.datasets import Pair
from adadsr.graph import NetworkWeights
from adadsr.graph.price import body_macs, price
from adadsr.metrics import psnr_y
from adadsr.networks import Model
from adadsr.training.validation import HIGHEST, SHARES, depth_map_at

MAPS, ONE_DEPTH, CUT_OFF = "adapted, depth maps", "adapted, one depth everywhere", "original, cut off"
WAYS = (MAPS, ONE_DEPTH, CUT_OFF)
"""Ways to run less than everything."""
MOST_DEPTHS = 8
"""Numbers of blocks at which one depth everywhere is measured, at most, besides 0."""
MOST_SHOWN = 3
"""Pictures in the report."""
NEAR = 0.01
"""Difference of shares up to which one counts as the other: maps meet a share within a tile."""
TYPICAL_SIDE = 128
"""Side in LR pixels of the picture on which shares of the body are told as budgets."""


class Point(NamedTuple):
    """share: of the body's multiply-accumulates, the mean over pictures. psnr: mean PSNR-Y to the full output in dB.

    Equal pictures have HIGHEST.
    """

    share: float
    psnr: float

    @property
    def is_equal(self) -> bool:
        """Whether all pictures are those of the full output."""
        return self.psnr >= HIGHEST


class Shown(NamedTuple):
    """A picture in the report. full: the original network's output. at: share -> output and depth map (G, h, w)."""

    lr: Pixels
    full: Pixels
    at: dict[float, tuple[Pixels, npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class Figures:
    """What was measured.

    curves: way -> points by ascending share. shown: pictures. blocks: largest depth. budgets: share of the body -> the
    `--budget` that gives it.
    """

    curves: dict[str, tuple[Point, ...]]
    shown: tuple[Shown, ...]
    pictures: int
    blocks: int
    budgets: dict[float, float]

    def at(self, way: str, share: float) -> float | None:
        """PSNR-Y of a way at a share of the body, interpolated linearly between its points.

        None between the last point that is not equal to the full output and equality, unless one of them is near.
        """
        points = self.curves[way]
        below = [point for point in points if not point.is_equal]
        if below and share <= below[-1].share:
            return float(np.interp(share, [point.share for point in below], [point.psnr for point in below]))
        nearest = min(points, key=lambda point: abs(point.share - share))
        return nearest.psnr if abs(nearest.share - share) <= NEAR else None


def measure(
    original: Model, adapted: Model, pairs: Sequence[Pair], device: str, tell: Told = lambda what, share: None
) -> Figures:
    """Measure an adapted network. pairs: LR images and the original's full output on them. device: as torch names it.

    One depth everywhere is measured at whole numbers of blocks, evenly spread if there are many.
    """
    before, after = prepare(original.weights(), device=device), prepare(adapted.weights(), device=device)
    sums: dict[str, dict[float, list[Point]]] = {way: {} for way in WAYS}
    shown: list[Shown] = []
    for index, pair in enumerate(pairs):
        lr, full = (each.permute(1, 2, 0).numpy() for each in (pair.lr, pair.hr))
        at = {share: _mapped(after, lr, share) for share in SHARES}
        for share, (sr, depth_map) in at.items():
            sums[MAPS].setdefault(share, []).append(_point(after, lr, sr, full, depth_map))
        for way, engine in ((ONE_DEPTH, after), (CUT_OFF, before)):
            for depth in _depths(engine.network.n_blocks):
                depth_map = _everywhere(engine, lr, depth)
                sr = upscaled(engine, lr[None], depth_map[None])[0]
                sums[way].setdefault(depth, []).append(_point(engine, lr, sr, full, depth_map))
        if index < MOST_SHOWN:
            shown.append(Shown(lr, full, at))
        tell("measuring fidelity", (index + 1) / len(pairs))
    curves = {way: tuple(sorted(_mean(points) for points in by.values())) for way, by in sums.items()}
    budgets = {share: budget_of_share(after.network, share) for share in SHARES}
    return Figures(curves, tuple(shown), len(pairs), after.network.n_blocks, budgets)


def budget_of_share(network: NetworkWeights, share: float) -> float:
    """The `--budget` at which a share of the body runs, on a picture of TYPICAL_SIDE pixels a side."""
    if share == 1:
        return 1.0  # without the adapter
    side = TYPICAL_SIDE // network.square
    dense = price(network, side, side)
    saved = (1 - share) * dense.body - network.require_adapter().macs(side, side)
    return 1 - saved / dense.total


def _depths(blocks: int) -> list[int]:
    """0, `blocks`, and numbers in between."""
    return sorted({round(depth) for depth in np.linspace(0, blocks, min(blocks, MOST_DEPTHS) + 1)})


def _size(engine: Engine, lr: Pixels) -> tuple[int, int]:
    """Height and width of an image as the network counts pixels."""
    square = engine.network.square
    return lr.shape[0] // square, lr.shape[1] // square


def _mapped(engine: Engine, lr: Pixels, share: float) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """SR and depth map at a share of the body's cost."""
    network = engine.network
    if share == 1:
        depth_map = _everywhere(engine, lr, network.n_blocks)
    else:
        images = as_squares(lr[None].astype(np.float32), network.square)
        scores = engine.scores(engine.features(images), share * network.n_blocks)[0]
        depth_map = depth_map_at(network, scores, images[0], share)
    return upscaled(engine, lr[None], depth_map[None])[0], depth_map


def _everywhere(engine: Engine, lr: Pixels, depth: int) -> npt.NDArray[np.float32]:
    return np.full(engine.network.map_shape(*_size(engine, lr)), depth, np.float32)


def _point(engine: Engine, lr: Pixels, sr: Pixels, full: Pixels, depth_map: npt.NDArray[np.float32]) -> Point:
    network, size = engine.network, _size(engine, lr)
    share = body_macs(network.body, *size, depth_map[None]) / body_macs(network.body, *size)
    return Point(share, min(HIGHEST, psnr_y(sr, full, network.scale // network.square)))


def _mean(points: Sequence[Point]) -> Point:
    return Point(*(float(np.mean(values)) for values in zip(*points, strict=True)))
