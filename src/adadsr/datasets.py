"""Folders of images to random training pairs. Imports only what a bare PyTorch machine has, and Pillow."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adadsr.errors import DatasetError
from adadsr.resize import bicubic_downscale

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")


class Pair(NamedTuple):
    """One image at both sizes: lr (3, h, w) and hr (3, s*h, s*w), uint8."""

    lr: Tensor
    hr: Tensor


def load_pairs(folder: Path, scale: int) -> list[Pair]:
    """Every image below `folder`, cropped to a multiple of `scale`, with its bicubic LR made from the whole image.

    Raises DatasetError where the folder holds no image or one cannot be read.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{folder}: no images ({', '.join(SUFFIXES)}) found; give a folder of HR images")
    return [_load_pair(path, scale) for path in paths]


def _load_pair(path: Path, scale: int) -> Pair:
    from PIL import Image

    try:
        with Image.open(path) as file:
            hr = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read as an image ({error}); remove it or save it again") from error
    height, width = (size - size % scale for size in hr.shape[:2])
    if not height or not width:
        raise DatasetError(f"{path}: {hr.shape[1]}x{hr.shape[0]} pixels are too few for x{scale}; remove it")
    hr = hr[:height, :width].copy()
    return Pair(*(torch.from_numpy(image).permute(2, 0, 1) for image in (bicubic_downscale(hr, scale), hr)))


class PatchSampler:
    """Random LR patches with their HR patches, flipped and turned by 90 degrees.

    Every position of every image is equally likely. All randomness comes from `generator`, so that a run that is
    resumed with its state draws what it would have drawn.
    """

    def __init__(self, pairs: list[Pair], scale: int, patch: int, generator: torch.Generator) -> None:
        """patch: side of the LR patch in pixels. Raises DatasetError where no image is that large."""
        self.pairs = [pair for pair in pairs if min(pair.lr.shape[-2:]) >= patch]
        if not self.pairs:
            raise DatasetError(f"no image has an LR side of {patch} pixels; take a smaller patch or larger images")
        self.weights = torch.tensor([float(pair.lr[0].numel()) for pair in self.pairs])
        self.scale, self.patch, self.generator = scale, patch, generator

    def batch(self, size: int) -> Pair:
        """lr (size, 3, patch, patch) and hr (size, 3, s*patch, s*patch), float32 in 0..255."""
        chosen = torch.multinomial(self.weights, size, replacement=True, generator=self.generator)
        patches = [self._patch(self.pairs[int(index)]) for index in chosen]
        return Pair(*(torch.stack(images).float() for images in zip(*patches, strict=True)))

    def _patch(self, pair: Pair) -> Pair:
        top, left = (self._integer(size - self.patch + 1) for size in pair.lr.shape[-2:])
        turns, flip = self._integer(4), self._integer(2)
        images = []
        for image, factor in ((pair.lr, 1), (pair.hr, self.scale)):
            side = self.patch * factor
            image = image[:, top * factor : top * factor + side, left * factor : left * factor + side]
            image = torch.rot90(image, turns, (1, 2))
            images.append(image.flip(2) if flip else image)
        return Pair(*images)

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))
