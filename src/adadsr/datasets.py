"""From folders of images to random training patches. Imports only PyTorch, NumPy and Pillow."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adadsr import atomic
from adadsr.bit_depth import is_deep
from adadsr.degradation import degrade_as_photo
from adadsr.errors import DatasetError, InputError, cause_of, is_full
from adadsr.formats import READABLE_SUFFIXES, is_image_file
from adadsr.machine import default_threads
from adadsr.resize import bicubic_downscale

REDUCTION_REMEDY = "drop that reduction from the recipe or use larger images"
Pixels = npt.NDArray[np.uint8]


class Pair(NamedTuple):
    """One image at both sizes: lr (3, h, w) and hr (3, s*h, s*w), uint8.

    target: a teacher's SR of lr, float16, of the shape of hr. reduction: factor by which the photo was downscaled to
    make hr.
    """

    lr: Tensor
    hr: Tensor
    target: Tensor | None = None
    reduction: int = 1


def load_pairs(
    folder: Path, scale: int, cache: Path | None = None, reductions: tuple[int, ...] = (1,), least: int = 1
) -> list[Pair]:
    """Every image below `folder`, cropped to a multiple of `scale`, with its bicubic LR made from the whole image.

    Hidden files and folders are left out. cache: folder for resized images, keyed by a hash of the file, so that later
    starts only decode. reductions: in ascending order; each image is used at 1/r of its size (bicubic) for every r that
    leaves it enough pixels. least: side in LR pixels that an image needs. Raises DatasetError if the folder does not
    exist or has no images, if none is large enough for a reduction, or if files cannot be used; the message lists all
    of these. Raises InputError for a scale of 1.
    """
    if scale == 1:
        raise InputError("scale=1: LR would equal HR, so photos have nothing to teach; train a scale of 2 or more")
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder}: {what}; pass a folder of HR images")
    paths = sorted(p for p in folder.rglob("*") if is_image_file(p) and not _is_hidden(p.relative_to(folder)))
    if not paths:
        raise DatasetError(f"{folder}: no images ({', '.join(READABLE_SUFFIXES)}) found; pass a folder of HR images")
    if cache is not None:
        try:
            atomic.make_folder(cache)
        except OSError as error:
            raise _cache_error(cache, error) from error
    with ThreadPoolExecutor(default_threads()) as pool:
        load = partial(_load_or_reason, scale=scale, cache=cache, reductions=reductions, least=least)
        loaded = list(pool.map(load, paths))
    reasons = [reason for reason in loaded if isinstance(reason, str)]
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise DatasetError(f"{len(reasons)} of {len(paths)} images cannot be used; remove or replace them:{listed}")
    pairs = [pair for group in loaded if isinstance(group, list) for pair in group]
    missing = sorted(set(reductions) - {pair.reduction for pair in pairs})
    if missing:
        raise DatasetError(
            f"{folder}: no image is large enough for x{scale} at 1/{missing[0]} of its size; {REDUCTION_REMEDY}"
        )
    return pairs


def _is_hidden(path: Path) -> bool:
    """Whether a part of the path begins with a dot, such as the `._a.jpg` of macOS."""
    return any(part.startswith(".") for part in path.parts)


def _load_or_reason(
    path: Path, scale: int, cache: Path | None, reductions: tuple[int, ...], least: int
) -> list[Pair] | str:
    """The pairs of a file, one per reduction that it is large enough for, or the reason if there are none."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as file:
            if is_deep(file, content):
                return f"{path}: has more than 8 bits a sample; training needs 8"
            if file.has_transparency_data and file.convert("RGBA").getextrema()[3] != (255, 255):
                return f"{path}: is transparent in places; training needs opaque images"
            photo = np.asarray(file.convert("RGB"))
    except Exception as error:  # corrupt bytes can fail anywhere inside a decoder
        return f"{path}: cannot be decoded ({error})"
    name = hashlib.sha256(content).hexdigest()
    pairs = [_pair(photo, scale, r, cache, name) for r in reductions if min(photo.shape[:2]) // r >= scale * least]
    if not pairs:
        reduced = "" if reductions[0] == 1 else f" at 1/{reductions[0]} of its size"
        side = scale * least * reductions[0]
        return (
            f"{path}: {photo.shape[1]}x{photo.shape[0]} is too small for x{scale}{reduced}, which needs {side}x{side}"
        )
    return pairs


def _pair(photo: Pixels, scale: int, reduction: int, cache: Path | None, name: str) -> Pair:
    """A photo downscaled, then cropped to a multiple of `scale`, with its LR. name: its key in the cache."""
    if reduction > 1:
        name = f"{name}-1of{reduction}"
        shape = (-(-photo.shape[0] // reduction), -(-photo.shape[1] // reduction), 3)
        hr = cached_array(cache, name, shape, np.uint8, lambda: bicubic_downscale(photo, reduction))
    else:
        hr = photo
    height, width = (size // scale for size in hr.shape[:2])
    hr = hr[: height * scale, : width * scale].copy()
    lr = cached_array(cache, f"{name}-x{scale}", (height, width, 3), np.uint8, lambda: bicubic_downscale(hr, scale))
    lr_tensor, hr_tensor = (torch.from_numpy(image).permute(2, 0, 1) for image in (lr, hr))
    return Pair(lr_tensor, hr_tensor, reduction=reduction)


def cached_array(
    cache: Path | None, name: str, shape: tuple[int, ...], dtype: type, make: Callable[[], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """The array `name` of the cache; made and stored if it is missing, corrupt, or has another shape or dtype.

    cache: None makes the array without storing it. Raises DatasetError if the cache cannot be written.
    """
    if cache is None:
        return make()
    path = cache / f"{name}.npy"
    try:
        stored: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        if stored.shape == shape and stored.dtype == dtype:
            return stored
    except (OSError, ValueError, EOFError):
        pass
    made = make()
    try:
        with atomic.replacing(path) as hidden, hidden.open("wb") as file:
            np.save(file, made)
    except OSError as error:
        raise _cache_error(cache, error) from error
    return made


def too_small(patch: int, reductions: Sequence[int]) -> DatasetError:
    """The refusal of images none of which holds a patch. reductions: of each; the smallest leaves the largest LR."""
    least = min(reductions, default=1)
    if least == 1:
        return DatasetError(f"all LR images are smaller than patch={patch}; use a smaller patch or larger images")
    return DatasetError(
        f"all LR images at 1/{least} of their size are smaller than patch={patch}; use a smaller patch, a smaller "
        "reduction or larger images"
    )


def _cache_error(cache: Path, error: OSError) -> DatasetError:
    if is_full(error):
        return DatasetError(f"{cache}: cannot write ({cause_of(error)}); free some space or choose another --cache")
    return DatasetError(f"{cache}: folder is not writable ({cause_of(error)}); choose another --cache")


class _Joined(NamedTuple):
    """The pixels of many images in a row: values (P, 3); starts and widths (images,) int64."""

    values: Tensor
    starts: Tensor
    widths: Tensor

    def image(self, index: int, height: int) -> Tensor:
        """A view of one image, (3, height, w)."""
        start, width = int(self.starts[index]), int(self.widths[index])
        return self.values[start : start + height * width].view(height, width, 3).permute(2, 0, 1)


class TrainingImages:
    """All pairs in the memory of a device: uint8, and targets, if there are any, as float16."""

    def __init__(self, pairs: list[Pair], scale: int, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self.sizes = torch.tensor([pair.lr.shape[-2:] for pair in pairs]).view(-1, 2)
        self.reductions = torch.tensor([pair.reduction for pair in pairs])
        self.lr = _joined([pair.lr for pair in pairs], device)
        self.hr = _joined([pair.hr for pair in pairs], device)
        targets = [pair.target for pair in pairs if pair.target is not None]
        self.targets = _joined(targets, device) if targets else None

    def pair(self, index: int) -> Pair:
        """Views of the LR and HR of one image."""
        height, reduction = int(self.sizes[index, 0]), int(self.reductions[index])
        return Pair(self.lr.image(index, height), self.hr.image(index, height * self.scale), reduction=reduction)


def _joined(images: list[Tensor], device: torch.device) -> _Joined:
    counts = torch.tensor([0, *(image[0].numel() for image in images)])
    dtype = images[0].dtype if images else torch.uint8
    values = torch.empty(int(counts.sum()), 3, dtype=dtype, device=device)
    ends = counts.cumsum(0)
    for image, start, end in zip(images, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        values[start:end] = image.permute(1, 2, 0).reshape(-1, 3).to(device)
    widths = torch.tensor([image.shape[-1] for image in images])
    return _Joined(values, ends[:-1].to(device), widths.to(device))


class PatchSampler:
    """Random LR patches with their HR patches, cut on the images' device, and by default flipped and rotated.

    Each reduction of the photos is equally likely, and within one every position of every image. All randomness comes
    from `generator`, on the CPU, so a resumed run draws the same patches on any device.
    """

    def __init__(self, images: TrainingImages, patch: int, generator: torch.Generator, *, augment: bool = True) -> None:
        """patch: side of the LR patch in pixels. augment: flip and rotate patches.

        Raises DatasetError if no image of a reduction is that large.
        """
        self.images, self.patch, self.generator, self.augment = images, patch, generator, augment
        self.positions = (images.sizes - patch + 1).clamp_min(0)
        self.weights = self.positions.prod(dim=1).double()
        if not self.weights.any():
            raise too_small(patch, images.reductions.tolist())
        for reduction in sorted(set(images.reductions.tolist())):
            alike = images.reductions == reduction
            if not (total := self.weights[alike].sum()):
                raise DatasetError(
                    f"all LR images at 1/{reduction} of their size are smaller than patch={patch}; {REDUCTION_REMEDY}"
                )
            self.weights[alike] /= total

    def batch(self, size: int, part: slice = slice(None)) -> Pair:
        """lr (n, 3, patch, patch), hr and target (n, 3, s*patch, s*patch), float32 in 0..255, channels last.

        size: number of patches to draw. part: those to return.
        """
        image = torch.multinomial(self.weights, size, replacement=True, generator=self.generator)
        fraction = torch.rand(size, 2, dtype=torch.float64, generator=self.generator)
        corner = (fraction * self.positions[image]).long()
        turn = torch.randint(8 if self.augment else 1, (size,), generator=self.generator)
        drawn = torch.stack([image, *corner.unbind(1), turn])[:, part].to(self.images.device, non_blocking=True)
        lr = _cut(self.images.lr, drawn, self.patch, 1)
        hr = _cut(self.images.hr, drawn, self.patch, self.images.scale)
        targets = self.images.targets
        return Pair(lr, hr, None if targets is None else _cut(targets, drawn, self.patch, self.images.scale))

    def with_flat(self, batch: Pair, share: float, size: int, part: slice = slice(None)) -> Pair:
        """Patches of which about a share is of one colour each, in lr, hr and target alike.

        Every colour is equally likely in half of them; in the others half of the samples are 0 or 255, where photos are
        clipped. share: 0 draws no random numbers. size and part: those that `batch` was given.
        """
        if not share:
            return batch
        chance, extreme, sample = torch.rand(3, size, 3, 1, 1, generator=self.generator)[:, part].unbind()
        clipped = (extreme < 0.5) & (chance[:, :1] > share / 2)
        color = torch.where(clipped, (extreme < 0.25) * 255.0, (sample * 256).floor())
        color, flat = color.to(batch.lr.device), (chance[:, :1] < share).to(batch.lr.device)

        def mixed(patches: Tensor) -> Tensor:
            return torch.where(flat, color.to(patches.dtype), patches)

        return Pair(mixed(batch.lr), mixed(batch.hr), None if batch.target is None else mixed(batch.target))

    def as_photos(self, lr: Tensor, share: float, part: slice = slice(None)) -> Tensor:
        """LR patches (n, 3, H, W) of which about a share is degraded as photos are (`degradation.degrade_as_photo`).

        share: 0 draws no random numbers. part: that which `batch` was given.
        """
        if not share:
            return lr
        seed, first = int(torch.randint(2**62, (), generator=self.generator)), part.start or 0
        patches = lr.permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()
        seen = []
        for index, patch in enumerate(patches, first):
            random = np.random.default_rng([seed, index])
            seen.append(degrade_as_photo(patch, random) if random.random() < share else patch)
        # Channels last, like the patches.
        return torch.from_numpy(np.stack(seen)).to(lr.device, lr.dtype).permute(0, 3, 1, 2)


def _cut(pixels: _Joined, drawn: Tensor, patch: int, factor: int) -> Tensor:
    """Squares cut out of images: (n, 3, factor*patch, factor*patch), float32.

    drawn: (4, n): image; top and left in LR pixels; orientation in 0..7, whose bits flip rows, flip columns, transpose.
    """
    image, top, left, turn = drawn
    last = patch * factor - 1
    line = torch.arange(last + 1, device=image.device)
    flips = (turn[:, None] >> torch.arange(3, device=image.device)) & 1
    rows = top[:, None] * factor + torch.where(flips[:, :1] == 1, last - line, line)
    columns = left[:, None] * factor + torch.where(flips[:, 1:2] == 1, last - line, line)
    start = pixels.starts[image][:, None, None]
    positions = start + rows[:, :, None] * pixels.widths[image][:, None, None] + columns[:, None, :]
    positions = torch.where(flips[:, 2, None, None] == 1, positions.transpose(1, 2), positions)
    picked = pixels.values.index_select(0, positions.flatten()).view(*positions.shape, 3)
    return picked.permute(0, 3, 1, 2).float()
