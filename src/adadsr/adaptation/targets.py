"""The network's own full output: what an adapted network learns to give at less."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from adadsr.adaptation.photos import Pixels, Split, Told, corners, cut, held_crop
from adadsr.backends import Engine, as_squares, to_numpy
from adadsr.datasets import Pair, cached_array
from adadsr.geometry import Box

SEED = 0


def upscaled(engine: Engine, lr: Pixels, depth_map: npt.NDArray[np.float32] | None = None) -> Pixels:
    """SR of LR images (N, H, W, 3), rounded; zeros lie beyond their border, as in training.

    depth_map: (N, G, h, w), in blocks; None for full depth.
    """
    images = as_squares(lr.astype(np.float32), engine.network.square)
    z = engine.body(engine.features(images), depth_map)
    sr = to_numpy(engine.tail(z, Box(0, 0, *images.shape[1:3])))
    rounded: Pixels = np.rint(sr.clip(0, 255)).astype(np.uint8)
    return rounded


def learned_pairs(
    engine: Engine, digest: str, split: Split, side: int, count: int, cache: Path | None, tell: Told
) -> list[Pair]:
    """Crops of the photos to learn from, with the network's output on each.

    A target sees the same zeros around its crop as the student, so that nothing is left that cannot be learned.
    digest: of the network. side: of a crop in LR pixels. count: of crops in all, roughly. cache: folder for crops and
    targets, one file each per photo; None caches nothing. Raises DatasetError if it cannot be written.
    """
    scale = engine.network.scale // engine.network.square
    photos = split.learned
    wanted = -(-count // max(1, sum(len(corners(photo, side, 1, SEED)) for photo in photos)))
    pairs: list[Pair] = []
    for index, photo in enumerate(photos):
        where = corners(photo, side, wanted, SEED)
        about = hashlib.sha256(f"{photo.digest} {side} {where}".encode()).hexdigest()
        shape = (len(where), side, side, 3)
        lr = cached_array(cache, f"{about}-crops", shape, np.uint8, lambda: cut(photo, where, side))  # noqa: B023
        sr = cached_array(
            cache,
            f"{about}-{digest[:32]}-own",
            (len(where), side * scale, side * scale, 3),
            np.uint8,
            lambda: upscaled(engine, lr),  # noqa: B023
        )
        pairs += [
            Pair(_planes(small), _planes(large), reduction=corner.reduction)
            for small, large, corner in zip(lr, sr, where, strict=True)
        ]
        tell("computing targets", (index + 1) / len(photos))
    return pairs


def held_pairs(engine: Engine, split: Split) -> list[Pair]:
    """Crops of the photos held out, with the network's output on each."""
    crops = [held_crop(photo, index, engine.network.square) for index, photo in enumerate(split.held)]
    return [pair_of(engine, crop) for crop in crops]


def pair_of(engine: Engine, lr: Pixels) -> Pair:
    """An LR image (H, W, 3) with the network's output."""
    return Pair(_planes(lr), _planes(upscaled(engine, lr[None])[0]))


def _planes(image: Pixels) -> torch.Tensor:
    """(H, W, 3) as a tensor (3, H, W), a view."""
    return torch.from_numpy(image).permute(2, 0, 1)
