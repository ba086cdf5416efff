"""A teacher's SR of parts of the training photos, computed before a stage and cached."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adadsr.datasets import Pair, TrainingImages, cached_array, too_small
from adadsr.geometry import Box
from adadsr.training.distributed import World
from adadsr.training.recipe import Stage
from adadsr.training.teacher import Teacher

LARGEST = 128
"""Maximum side of a part in LR pixels, unless patches are larger; the teacher's work on it fits a processor's cache."""
CONTEXT = 12
"""LR pixels around a part that the teacher sees, up to the border of the image."""


class Part(NamedTuple):
    """A rectangle of LR pixels of one of many images. image: its index."""

    image: int
    box: Box


@dataclass(frozen=True)
class TargetMaker:
    """Computes the targets of a teacher.

    seed: decides which parts of the photos. world: processes that share the work. cache: folder for targets, keyed by
    the teacher's weights and the pixels that it saw; None caches nothing.
    """

    teacher: Teacher
    seed: int
    world: World
    cache: Path | None

    def cut(
        self, images: TrainingImages, stage: Stage, tell: Callable[[float], None] = lambda share: None
    ) -> TrainingImages:
        """Parts of the images, `stage.teacher_megapixels` in all, with the teacher's SR of each.

        tell: is told the share of this process's targets that is done. Raises DatasetError if no part holds a patch of
        the stage.
        """
        pixels, world = stage.teacher_megapixels * 1e6, self.world
        parts = choose_parts(images.sizes, images.reductions, pixels, stage.patch, self.seed)
        if self.cache is None or world.size == 1:
            pairs = self._pairs(images, parts, tell)
        else:
            self._pairs(images, parts[world.rank :: world.size], tell)
            world.wait()
            pairs = self._pairs(images, parts)  # from the cache
        return TrainingImages(pairs, images.scale, images.device)

    def _pairs(
        self, images: TrainingImages, parts: list[Part], tell: Callable[[float], None] = lambda share: None
    ) -> list[Pair]:
        pairs = []
        for done, part in enumerate(parts, 1):
            pairs.append(self._pair(images, part))
            tell(done / len(parts))
        return pairs

    def _pair(self, images: TrainingImages, part: Part) -> Pair:
        """A part of an image, with the teacher's SR of it as float16, which rounds to 1/16 of a gray level at most.

        In uint8, rounding would be as large as what a student still has to learn.
        """
        pair, box, scale = images.pair(part.image), part.box, images.scale
        height, width = pair.lr.shape[-2:]
        window = box.grown(CONTEXT, Box(0, 0, height, width))
        seen, inner = window.of(pair.lr), box.relative_to(window)
        hr: Tensor = box.scaled(scale).of(pair.hr)
        pixels = seen.permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
        about = f"{self.teacher.digest} x{scale} {tuple(seen.shape)} {tuple(inner)}".encode()
        target = cached_array(
            self.cache,
            f"{hashlib.sha256(about + pixels).hexdigest()}-target-x{scale}",
            tuple(hr.shape),
            np.float16,
            lambda: self.teacher.upscale(seen, inner).half().cpu().numpy(),
        )
        return Pair(box.of(pair.lr), hr, torch.from_numpy(target), pair.reduction)


def choose_parts(sizes: Tensor, reductions: Tensor, pixels: float, least: int, seed: int) -> list[Part]:
    """Random parts of images, the same share of `pixels` LR pixels for each reduction, as far as there are enough.

    sizes: (images, 2), LR height and width. reductions: (images,). least: side in LR pixels that a part needs. With
    the same seed and `least`, more pixels add parts to those of fewer. Raises DatasetError if all are smaller.
    """
    chosen, values = [], sorted(set(reductions.tolist()))
    for reduction in values:
        images = torch.nonzero(reductions == reduction).flatten().tolist()
        parts = [Part(image, box) for image in images for box in split(sizes[image].tolist(), least)]
        order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed + reduction)).tolist()
        left = pixels / len(values)
        for part in (parts[index] for index in order):
            if left > 0 and min(part.box.height, part.box.width) >= least:
                chosen.append(part)
                left -= part.box.height * part.box.width
    if not chosen:
        raise too_small(least, values)
    return chosen


def split(size: Sequence[int], least: int) -> list[Box]:
    """Rectangles of nearly equal size that cover an image once. size: (height, width).

    Their sides are at most LARGEST, unless they would be less than `least`; see `choose_parts`.
    """
    rows, columns = (_edges(side, least) for side in size)
    return [Box(top, left, bottom, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def _edges(size: int, least: int) -> list[int]:
    count = max(1, min(-(-size // LARGEST), size // least))
    return [index * size // count for index in range(count + 1)]
