"""Folders of images to random training pairs. Imports only what a bare PyTorch machine has, and Pillow."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adadsr import atomic
from adadsr.errors import DatasetError
from adadsr.resize import bicubic_downscale

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
Bytes = npt.NDArray[np.uint8]


class Pair(NamedTuple):
    """One image at both sizes: lr (3, h, w) and hr (3, s*h, s*w), uint8."""

    lr: Tensor
    hr: Tensor


def load_pairs(folder: Path, scale: int, cache: Path | None = None) -> list[Pair]:
    """Every image below `folder`, cropped to a multiple of `scale`, with its bicubic LR made from the whole image.

    cache: a folder where LR images are kept by the content of the file, so that a later start has them at once.
    Raises DatasetError where the folder holds no image, and one that names all files that cannot be used.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{folder}: no images ({', '.join(SUFFIXES)}) found; give a folder of HR images")
    if cache is not None:
        try:
            atomic.make_folder(cache)
        except OSError as error:
            raise _cache_error(cache, error) from error
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        loaded = list(pool.map(partial(_load_or_reason, scale=scale, cache=cache), paths))
    reasons = [reason for reason in loaded if isinstance(reason, str)]
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise DatasetError(f"{len(reasons)} of {len(paths)} images cannot be used; remove or replace them:{listed}")
    return [pair for pair in loaded if isinstance(pair, Pair)]


def _load_or_reason(path: Path, scale: int, cache: Path | None) -> Pair | str:
    """The pair of a file, or why there is none."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as file:
            if file.mode.startswith(("I", "F")):
                return f"{path}: its samples ({file.mode}) are not of 8 bits, which training needs"
            hr = np.asarray(file.convert("RGB"))
    except Exception as error:  # bytes that are not what they claim to be fail anywhere inside a decoder
        return f"{path}: cannot be read as an image ({error})"
    height, width = (size - size % scale for size in hr.shape[:2])
    if not height or not width:
        return f"{path}: {hr.shape[1]}x{hr.shape[0]} pixels are too few for x{scale}"
    hr = hr[:height, :width].copy()
    lr = bicubic_downscale(hr, scale) if cache is None else _cached_lr(hr, scale, content, cache)
    return Pair(*(torch.from_numpy(image).permute(2, 0, 1) for image in (lr, hr)))


def _cached_lr(hr: Bytes, scale: int, content: bytes, cache: Path) -> Bytes:
    """The LR image out of the cache; made and put there where it is missing or damaged."""
    place = cache / f"{hashlib.sha256(content).hexdigest()}-x{scale}.npy"
    expected = hr.shape[0] // scale, hr.shape[1] // scale, 3
    try:
        kept: npt.NDArray[Any] = np.load(place, allow_pickle=False)
        if kept.shape == expected and kept.dtype == np.uint8:
            return kept
    except (OSError, ValueError, EOFError):
        pass
    lr = bicubic_downscale(hr, scale)
    try:
        with atomic.replacing(place) as hidden, hidden.open("wb") as file:
            np.save(file, lr)
    except OSError as error:
        raise _cache_error(cache, error) from error
    return lr


def _cache_error(cache: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{cache}: cannot be written: {error.strerror}; choose another --cache")


class _Pixels(NamedTuple):
    """The pixels of many images one after the other: values (P, 3) uint8; starts and widths (images,) int64."""

    values: Tensor
    starts: Tensor
    widths: Tensor


class TrainingImages:
    """All pairs in the memory of a device, as uint8."""

    def __init__(self, pairs: list[Pair], scale: int, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self.sizes = torch.tensor([pair.lr.shape[-2:] for pair in pairs]).view(-1, 2)
        self.lr = _joined([pair.lr for pair in pairs], device)
        self.hr = _joined([pair.hr for pair in pairs], device)


def _joined(images: list[Tensor], device: torch.device) -> _Pixels:
    counts = torch.tensor([0, *(image[0].numel() for image in images)])
    values = torch.empty(int(counts.sum()), 3, dtype=torch.uint8, device=device)
    ends = counts.cumsum(0)
    for image, start, end in zip(images, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        values[start:end] = image.permute(1, 2, 0).reshape(-1, 3).to(device)
    widths = torch.tensor([image.shape[-1] for image in images])
    return _Pixels(values, ends[:-1].to(device), widths.to(device))


class PatchSampler:
    """Random LR patches with their HR patches, flipped and turned by 90 degrees, cut out where the images lie.

    Every position of every image is equally likely. All randomness comes from `generator` (of the CPU), so that a run
    that is resumed with its state draws what it would have drawn, on any device.
    """

    def __init__(self, images: TrainingImages, patch: int, generator: torch.Generator) -> None:
        """patch: side of the LR patch in pixels. Raises DatasetError where no image is that large."""
        self.images, self.patch, self.generator = images, patch, generator
        self.positions = (images.sizes - patch + 1).clamp_min(0)
        self.weights = self.positions.prod(dim=1).double()
        if not self.weights.any():
            raise DatasetError(f"no image has an LR side of {patch} pixels; take a smaller patch or larger images")

    def batch(self, size: int, part: slice = slice(None)) -> Pair:
        """lr (n, 3, patch, patch) and hr (n, 3, s*patch, s*patch), float32 in 0..255, channels last.

        size: patches that are drawn. part: those of them that are wanted; the others take their random numbers only.
        """
        image = torch.multinomial(self.weights, size, replacement=True, generator=self.generator)
        place = torch.rand(size, 2, dtype=torch.float64, generator=self.generator)
        corner = (place * self.positions[image]).long()
        turn = torch.randint(8, (size,), generator=self.generator)
        drawn = torch.stack([image, *corner.unbind(1), turn])[:, part].to(self.images.device, non_blocking=True)
        lr = _cut(self.images.lr, drawn, self.patch, 1)
        return Pair(lr, _cut(self.images.hr, drawn, self.patch, self.images.scale))


def _cut(pixels: _Pixels, drawn: Tensor, patch: int, factor: int) -> Tensor:
    """Squares out of images: (n, 3, factor*patch, factor*patch), float32.

    drawn: (4, n): image; top and left in LR pixels; a turn in 0..7, whose bits flip rows, flip columns, swap the two.
    """
    image, top, left, turn = drawn
    last = patch * factor - 1
    line = torch.arange(last + 1, device=image.device)
    flips = (turn[:, None] >> torch.arange(3, device=image.device)) & 1
    rows = top[:, None] * factor + torch.where(flips[:, :1] == 1, last - line, line)
    columns = left[:, None] * factor + torch.where(flips[:, 1:2] == 1, last - line, line)
    start = pixels.starts[image][:, None, None]
    places = start + rows[:, :, None] * pixels.widths[image][:, None, None] + columns[:, None, :]
    places = torch.where(flips[:, 2, None, None] == 1, places.transpose(1, 2), places)
    picked = pixels.values.index_select(0, places.flatten()).view(*places.shape, 3)
    return picked.permute(0, 3, 1, 2).float()
