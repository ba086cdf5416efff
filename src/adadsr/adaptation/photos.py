"""The photos of a user: which of them are held out, and the crops to learn from and to measure on."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.batch.search import Search
from adadsr.errors import AdaDSRError, DatasetError
from adadsr.images import quantize, read_image, read_size, to_planes
from adadsr.resize import bicubic_downscale

Pixels = npt.NDArray[np.uint8]
REDUCTIONS = (1, 2, 4)
"""Photos are used at 1/r of their size: people enlarge small pictures, which have more detail in a pixel."""
FEWEST_PHOTOS = 4
HELD_SHARE = 1 / 8
"""Share of the photos that is held out to measure on."""
HELD_SIDE = 128
"""Largest side of what is measured, in LR pixels."""


class Photo(NamedTuple):
    """A photo: its file, a hash of it, height and width."""

    path: Path
    digest: str
    height: int
    width: int

    def fits(self, reduction: int, side: int) -> bool:
        """Whether it holds a square of this side when reduced."""
        return min(self.height, self.width) // reduction >= side


@dataclass(frozen=True)
class Split:
    """Photos to learn from, and those held out; left_out: those that are too small."""

    learned: tuple[Photo, ...]
    held: tuple[Photo, ...]
    left_out: tuple[Path, ...]

    @property
    def digest(self) -> str:
        """A hash of which photos are learned from and which are held out, whatever they are called."""
        parts = [sorted(photo.digest for photo in part) for part in (self.learned, self.held)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Corner(NamedTuple):
    """Where a crop lies: its upper left corner in the photo at 1/reduction of its size."""

    reduction: int
    top: int
    left: int


def find_photos(sources: Sequence[Path], patch: int, most_held: int, seed: int) -> Split:
    """Photos in files and folders, searched recursively, split by chance.

    patch: side in pixels that they need. most_held: how many are held out at most.

    Raises DatasetError if files cannot be read, of which the message lists all, or if there are too few.
    """
    search = Search([str(source) for source in sources], None)
    photos: list[Photo] = []
    reasons = [reason for _, reason in search.failures]
    for found in search.found:
        try:
            height, width = read_size(found.source)
            photos.append(Photo(found.source, _digest(found.source), height, width))
        except (AdaDSRError, OSError) as error:
            reasons.append(str(error))
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise DatasetError(f"{len(reasons)} of the inputs cannot be used; remove or replace them:{listed}")
    unique = {photo.digest: photo for photo in photos if photo.fits(1, patch)}
    small = tuple(photo.path for photo in photos if not photo.fits(1, patch))
    if len(unique) < FEWEST_PHOTOS:
        raise DatasetError(
            f"{', '.join(map(str, sources))}: {len(unique)} different photos of at least {patch}x{patch} pixels; "
            f"pass {FEWEST_PHOTOS} or more, better 100"
        )
    # By their content, so that other names and folders do not change the split.
    ordered = [unique[digest] for digest in sorted(unique)]
    random.Random(seed).shuffle(ordered)
    held = max(1, min(most_held, round(HELD_SHARE * len(ordered))))
    return Split(tuple(ordered[held:]), tuple(ordered[:held]), small)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def corners(photo: Photo, side: int, count: int, seed: int) -> list[Corner]:
    """Random crops of a photo, `count` at each reduction that it is large enough for."""
    draw = random.Random(f"{seed} {photo.digest}")
    found: list[Corner] = []
    for reduction in (each for each in REDUCTIONS if photo.fits(each, side)):
        height, width = photo.height // reduction, photo.width // reduction
        distinct = {
            Corner(reduction, draw.randint(0, height - side), draw.randint(0, width - side)) for _ in range(count)
        }
        found += sorted(distinct)
    return found


def cut(photo: Photo, where: Sequence[Corner], side: int) -> Pixels:
    """Crops of a photo, (N, side, side, 3). Raises ImageFileError if it cannot be read."""
    whole = read_rgb(photo.path)
    sizes = {1: whole} | {
        reduction: bicubic_downscale(whole, reduction) for reduction in {each.reduction for each in where} - {1}
    }
    crops = [sizes[each.reduction][each.top : each.top + side, each.left : each.left + side] for each in where]
    return np.stack(crops)


def held_crop(photo: Photo, index: int, square: int) -> Pixels:
    """The middle of a photo that is measured, (h, w, 3), sides multiples of `square`; photos take turns in reduction.

    index: of the photo among those held out.
    """
    turn = REDUCTIONS[index % len(REDUCTIONS)]
    reduction = turn if photo.fits(turn, HELD_SIDE) else 1
    whole = read_rgb(photo.path)
    return middle(whole if reduction == 1 else bicubic_downscale(whole, reduction), square)


def middle(image: Pixels, square: int) -> Pixels:
    """The middle of an image, at most HELD_SIDE pixels wide and high, sides multiples of `square`."""
    height, width = (min(side, HELD_SIDE) // square * square for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def read_rgb(path: Path) -> Pixels:
    """A photo as (H, W, 3) uint8. Raises ImageFileError."""
    color = to_planes(read_image(path)).color
    pixels: Pixels = np.empty(color.shape, np.uint8)
    quantize(color, None, out=pixels)
    return pixels
