"""The photos of a user: which of them are held out, and the crops to learn from and to measure on."""

import contextlib
import hashlib
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.batch.search import Search
from adadsr.datasets import cached_array
from adadsr.errors import DatasetError, ImageFileError, InputError, cause_of
from adadsr.images import quantize, read_image, read_size, to_planes
from adadsr.machine import default_threads
from adadsr.resize import bicubic_downscale

Pixels = npt.NDArray[np.uint8]
Told = Callable[[str, float], None]
"""Is told what is done, and the share of it that is."""
REDUCTIONS = (1, 2, 4)
"""Photos are used at 1/r of their size: people enlarge small pictures, which have more detail in a pixel."""
FEWEST_PHOTOS = 4
HELD_SHARE = 1 / 8
"""Share of the photos that is held out to measure on."""
HELD_SIDE = 128
"""Largest side of what is measured, in LR pixels."""
MOST_CHECKED = 4
"""Photos that are decoded at the same time, at most, which bounds memory."""


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
    """Photos to learn from, and those held out.

    small: those that are smaller than a patch. left_out: what else lies among them, in words; empty for nothing.
    """

    learned: tuple[Photo, ...]
    held: tuple[Photo, ...]
    small: tuple[Path, ...]
    left_out: str

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


def check_apart(sources: Sequence[Path], out: Path) -> None:
    """Raise InputError if `out` is one of the sources. Paths that cannot be read are for others to refuse."""
    for each in sources:
        with contextlib.suppress(OSError):
            if each.samefile(out):
                raise InputError(f"{out}: holds the photos; choose another folder for --out")


def find_photos(
    sources: Sequence[Path],
    patch: int,
    most_held: int,
    seed: int,
    cache: Path | None = None,
    out: Path | None = None,
    tell: Told = lambda what, share: None,
) -> Split:
    """Photos in files and folders, searched recursively, split by chance.

    Each is decoded, so that none fails when others have been worked on for an hour.

    patch: side in pixels that they need. most_held: how many are held out at most. cache: folder that remembers which
    are sound; None remembers nothing. out: a folder that is not searched.

    Raises DatasetError if files cannot be read, of which the message lists all, or if there are too few.
    """
    search = Search([str(source) for source in sources], out)
    checked = _check_all([found.source for found in search.found], cache, tell)
    photos = [photo for photo in checked if isinstance(photo, Photo)]
    reasons = [reason for _, reason in search.failures] + [each for each in checked if isinstance(each, str)]
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise DatasetError(f"{len(reasons)} of the inputs cannot be used; remove or replace them:{listed}")
    unique = {photo.digest: photo for photo in photos if photo.fits(1, patch)}
    small = tuple(photo.path for photo in photos if not photo.fits(1, patch))
    if (count := len(unique)) < FEWEST_PHOTOS:
        raise DatasetError(
            f"{', '.join(map(str, sources))}: {count} different photo{'' if count == 1 else 's'} of at least "
            f"{patch}x{patch} pixels; pass {FEWEST_PHOTOS} or more, better 100"
        )
    # By their content, so that other names and folders do not change the split.
    ordered = [unique[digest] for digest in sorted(unique)]
    random.Random(seed).shuffle(ordered)
    held = max(1, min(most_held, round(HELD_SHARE * len(ordered))))
    return Split(tuple(ordered[held:]), tuple(ordered[:held]), small, str(search.left_out))


def _check_all(paths: Sequence[Path], cache: Path | None, tell: Told) -> list[Photo | str]:
    """Each photo, or why it cannot be used."""
    checked: list[Photo | str] = []
    pool = ThreadPoolExecutor(min(MOST_CHECKED, default_threads()))
    try:
        for each in pool.map(partial(_check, cache=cache), paths):
            checked.append(each)
            tell("checking photos", len(checked) / len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption does not wait for the rest
    return checked


def _check(path: Path, cache: Path | None) -> Photo | str:
    try:
        read_size(path)  # says what is wrong with a path
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = cached_array(cache, f"{digest}-size", (2,), np.int64, lambda: _decoded_size(path))
    except ImageFileError as error:
        return str(error.for_options())  # adapt has no options for reading
    except OSError as error:
        return f"{path}: cannot read ({cause_of(error)}); check the path and its permissions"
    return Photo(path, digest, int(size[0]), int(size[1]))


def _decoded_size(path: Path) -> npt.NDArray[np.int64]:
    """Height and width. Raises ImageFileError if not all pixels can be decoded."""
    return np.array(read_image(path).pixels.shape[:2], np.int64)


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
