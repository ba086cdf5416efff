"""Benchmark folders: HR images and, if the folder has them, their LR images.

Layouts, tried in this order: `HR/` or `HR_jpg/` below the folder, else the images in the folder itself; for scale s
the LR images in `LR_bicubic/X<s>/` if it exists, named like the HR image, optionally with `x<s>` or `_LR...` appended.
Other subfolders are ignored.
"""

import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr import images
from adadsr.degradation import Degradation, degrade
from adadsr.errors import DatasetError, ImageFileError
from adadsr.images import Picture
from adadsr.metrics import WINDOW
from adadsr.resize import bicubic_downscale

SHORT_NAMES = ("Set5", "Set14", "B100", "Urban100", "Manga109")
HR_FOLDERS = ("HR", "HR_jpg")
LR_FOLDER = "LR_bicubic"

Pixels = npt.NDArray[np.uint8]


class Pair(NamedTuple):
    """One image at both sizes, RGB: lr (h, w, 3) and hr (s*h, s*w, 3), uint8. is_gray: the HR file holds no colour."""

    lr: Pixels
    hr: Pixels
    is_gray: bool = False

    @property
    def scale(self) -> int:
        """How many times larger HR is."""
        return int(self.hr.shape[0] // self.lr.shape[0])


class Sample(NamedTuple):
    """Paths of one image. lr_path: None if LR is made from HR. height, width: of LR. digest: of all its pixels.

    degradations: what is done to LR.
    """

    name: str
    hr_path: Path
    lr_path: Path | None
    height: int
    width: int
    digest: str
    degradations: tuple[Degradation, ...] = ()


class Benchmark(NamedTuple):
    """A data set at one scale, its images in the order of their names."""

    name: str
    scale: int
    samples: tuple[Sample, ...]


def find_folder(given: str, data_root: Path) -> Path:
    """The folder of a data set: a name below `data_root`, in any case, or a path.

    Raises DatasetError that lists what is below `data_root`.
    """
    there = {path.name.lower(): path for path in sorted(data_root.glob("*")) if path.is_dir()}
    if given.lower() in there:
        return there[given.lower()]
    if Path(given).is_dir():
        return Path(given)
    found = ", ".join(path.name for path in there.values()) or "no folders"
    known = " (known, but not downloaded)" if given in SHORT_NAMES else ""
    raise DatasetError(
        f"{given}: unknown data set{known}; {data_root} contains {found}; pass one of these, a path, or --data-root"
    )


def open_benchmark(
    folder: Path, scale: int, *, lr_is_bicubic: bool = False, degradations: tuple[Degradation, ...] = ()
) -> Benchmark:
    """Find and check every image of a folder: each is decoded once, so that nothing fails after hours.

    lr_is_bicubic: whether an LR image has to be the bicubic of its HR image, since LR is made from HR anyway.
    degradations: done to each LR image in this order; the benchmark's name ends with them.
    Raises DatasetError or ImageFileError, which name all files that cannot be used: an image that cannot be read or is
    too small for SSIM, an LR image that is missing, left over, does not fit, or is not the bicubic one.
    """
    hr_paths = _by_stem(_hr_folder(folder))
    lr_paths = _lr_paths(folder, scale, list(hr_paths))
    samples: list[Sample] = []
    errors: list[DatasetError | ImageFileError] = []
    for stem, path in sorted(hr_paths.items()):
        try:
            sample = _sample(path, lr_paths.get(stem), scale, lr_is_bicubic, degradations)
            samples.append(sample)
        except (DatasetError, ImageFileError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        listed = "".join(f"\n  {error}" for error in errors)
        raise DatasetError(f"{folder}: {len(errors)} of {len(hr_paths)} images cannot be used:{listed}")
    name = "-".join([folder.resolve().name, *(f"{step.kind}{step.strength:g}" for step in degradations)])
    return Benchmark(name, scale, tuple(samples))


def _sample(
    path: Path, lr_path: Path | None, scale: int, lr_is_bicubic: bool, degradations: tuple[Degradation, ...]
) -> Sample:
    """One image, decoded and checked."""
    pair = _load(path, lr_path, scale, degradations)
    _check_size(path, pair, scale)
    if lr_is_bicubic and lr_path is not None and not np.array_equal(pair.lr, bicubic_downscale(pair.hr, scale)):
        raise DatasetError(
            f"{lr_path}: is not a bicubic downscale of {path}, which the bicubic baseline assumes; use bicubic-rgb"
        )
    digest = hashlib.sha256(f"{pair.lr.shape} {pair.is_gray}".encode() + pair.lr.tobytes() + pair.hr.tobytes())
    height, width = pair.lr.shape[:2]
    return Sample(path.stem, path, lr_path, height, width, digest.hexdigest(), degradations)


def load_pair(sample: Sample, scale: int) -> Pair:
    """Both sizes of one image; HR is cropped to a multiple of the scale, a missing LR is made from it."""
    return _load(sample.hr_path, sample.lr_path, scale, sample.degradations)


def _hr_folder(folder: Path) -> Path:
    return next((folder / name for name in HR_FOLDERS if (folder / name).is_dir()), folder)


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by name without suffix, but for hidden files."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not images.is_image_file(path):
            continue
        if path.stem in paths:
            raise DatasetError(f"{path}: {paths[path.stem].name} has the same name; rename or remove one of them")
        paths[path.stem] = path
    if not paths:
        suffixes = ", ".join(images.SUPPORTED_SUFFIXES)
        raise DatasetError(f"{folder}: no images ({suffixes}) found; pass a folder with HR images, or with HR/")
    return paths


def _lr_paths(folder: Path, scale: int, stems: list[str]) -> dict[str, Path]:
    """The LR image of each HR image; empty if the folder has none at this scale."""
    lr_folder = folder / LR_FOLDER / f"X{scale}"
    if not lr_folder.is_dir():
        return {}
    left, found, errors = _by_stem(lr_folder), {}, []
    for stem in stems:
        marked = [name for name in left if name.startswith(f"{stem}_LR")]
        name = next((name for name in (f"{stem}x{scale}", stem, *marked) if name in left), None)
        if name is None:
            errors.append(f"{lr_folder}: no LR image for {stem}, such as {stem}x{scale}.png; add it")
        else:
            found[stem] = left.pop(name)
    errors += [f"{extra}: no HR image belongs to it; remove it, or add the HR image" for extra in left.values()]
    if len(errors) == 1:
        raise DatasetError(errors[0])
    if errors:
        raise DatasetError(f"{lr_folder}: does not match its HR images:" + "".join(f"\n  {each}" for each in errors))
    return found


def _load(hr_path: Path, lr_path: Path | None, scale: int, degradations: tuple[Degradation, ...]) -> Pair:
    """Noise depends on the name of the HR image only, so that it is the same in every run."""
    pair = _load_clean(hr_path, lr_path, scale)
    if not degradations:
        return pair
    return pair._replace(lr=degrade(pair.lr, degradations, seed=zlib.crc32(hr_path.stem.encode())))


def _load_clean(hr_path: Path, lr_path: Path | None, scale: int) -> Pair:
    picture = _read(hr_path)
    hr = _rgb(picture)
    height, width = (size // scale for size in hr.shape[:2])
    if not height or not width:
        raise DatasetError(f"{hr_path}: {hr.shape[1]}x{hr.shape[0]} is too small for x{scale}; remove it")
    hr = np.ascontiguousarray(hr[: height * scale, : width * scale])
    if lr_path is None:
        return Pair(bicubic_downscale(hr, scale), hr, picture.is_gray)
    lr = _rgb(_read(lr_path))
    if lr.shape[:2] != (height, width):
        raise DatasetError(
            f"{lr_path}: {lr.shape[1]}x{lr.shape[0]} does not match {hr_path}, which needs {width}x{height} at "
            f"x{scale}; regenerate it"
        )
    return Pair(lr, hr, picture.is_gray)


def _read(path: Path) -> Picture:
    try:
        picture = images.read_image(path)
    except ImageFileError as error:
        raise error.for_options() from error.__cause__  # the commands that measure have none to pass
    if picture.bits != 8 or picture.is_transparent:
        what = "is transparent" if picture.bits == 8 else "has 16 bits"
        raise DatasetError(f"{path}: {what}; benchmarks are opaque 8-bit images; convert it")
    return picture


def _rgb(picture: Picture) -> Pixels:
    """The colours as (H, W, 3) uint8; gray becomes three equal channels."""
    colors = picture.pixels[..., :1] if picture.is_gray else picture.pixels[..., :3]
    return np.array(np.broadcast_to(colors, (*colors.shape[:2], 3)), np.uint8)


def _check_size(path: Path, pair: Pair, scale: int) -> None:
    height, width = pair.hr.shape[:2]
    if min(height, width) - 2 * scale < WINDOW:
        least = WINDOW + 2 * scale
        raise DatasetError(
            f"{path}: {width}x{height} is too small for SSIM after shaving {scale} pixels; needs {least}x{least}; "
            "remove it"
        )
