"""Inputs and output path -> jobs. Uses names only; no image is opened."""

import glob
import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adadsr import images
from adadsr.errors import InputError
from adadsr.formats import READABLE_SUFFIXES, find_format

DEFAULT_SUFFIX = ".png"
"""Suffix of the output of an input without one, or of a format that is only read."""


@dataclass(frozen=True)
class Job:
    """One image to upscale. depth_view: output path of the picture of its depth map, if any."""

    source: Path
    target: Path
    depth_view: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that the job writes."""
        return (self.target,) if self.depth_view is None else (self.target, self.depth_view)


class Jobs(NamedTuple):
    """existing: jobs skipped because their target exists. failures: (input, reason)."""

    to_run: list[Job]
    existing: list[Job]
    failures: list[tuple[Path, str]]


class _Found(NamedTuple):
    """An image and its path below the output folder. named: whether the user named this file itself."""

    source: Path
    below: Path
    named: bool


def find_jobs(
    inputs: Sequence[str], out: str, *, suffix: str | None = None, depth_views: bool = False, overwrite: bool = False
) -> Jobs:
    """Decide which files are read and where the results go.

    inputs: files; folders, searched recursively except for hidden files, with their structure kept below `out`; and
        patterns (`*`, `?`, `[...]`, `**`), with their structure kept from the first part that has a wildcard. Files
        below `out` are never inputs.
    out: the output file if a single file is named and `out` has an image suffix, otherwise a folder.
    suffix: of all outputs in a folder, such as `.png`; None keeps that of each input. An output file may have another
        suffix of the same format, such as `.jpeg` if `.jpg` is given.
    An input without images is a failure of its own, like a bad file. Raises InputError if `out` is unsuitable, if two
    inputs have the same output, or if an output is also an input.
    """
    found, failures = _search(inputs, Path(out))
    jobs = [Job(each.source, target) for each, target in zip(found, _targets(found, out, suffix), strict=True)]
    if depth_views:
        jobs = _with_depth_views(jobs)
    _check_outputs(jobs)
    # A run writes the image last, so if it exists, nothing is left to do.
    existing = {job: None for job in jobs if not overwrite and os.path.exists(job.target)}
    return Jobs([job for job in jobs if job not in existing], list(existing), failures)


def _search(inputs: Iterable[str], out: Path) -> tuple[list[_Found], list[tuple[Path, str]]]:
    """All images, each once, and the inputs without images, with the reason."""
    found: dict[str, _Found] = {}
    failures = []
    for text in inputs:
        path = Path(text)
        is_pattern = glob.has_magic(text) and not os.path.exists(path)
        if os.path.isdir(path):
            _refuse_same_folder(path, out)
            images_here = list(_in_folder(path, path, out))
        elif is_pattern:
            images_here = list(_in_pattern(text, out))
        else:  # the file may not exist: reading it says so
            images_here = [_Found(path, Path(path.name), True)]
        if not images_here:
            what = "no image matches this pattern" if is_pattern else "no images in this folder"
            failures.append((path, f"{text}: {what}; supported: {', '.join(READABLE_SUFFIXES)}"))
        for each in images_here:
            found.setdefault(os.path.abspath(each.source), each)
    return list(found.values()), failures


def _refuse_same_folder(folder: Path, out: Path) -> None:
    if out.resolve() == folder.resolve():
        raise InputError(f"{out}: output and input folder are the same; choose another, for example a subfolder")


def _in_folder(folder: Path, base: Path, out: Path) -> Iterator[_Found]:
    """Images in a folder, sorted, without hidden files and without `out` if it lies inside."""
    excluded = out.resolve()
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != excluded)
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and images.is_image_file(path):
                yield _Found(path, path.relative_to(base), False)


def _in_pattern(pattern: str, out: Path) -> Iterator[_Found]:
    """Matching images and those in matching folders, without `out` if it lies inside."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    excluded = out.resolve() if base.resolve() in out.resolve().parents else None
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        if excluded is not None and excluded in (path.resolve(), *path.resolve().parents):
            continue
        if os.path.isdir(path):
            yield from _in_folder(path, base, out)
        elif images.is_image_file(path):
            yield _Found(path, path.relative_to(base), False)


def _targets(found: Sequence[_Found], out: str, suffix: str | None) -> list[Path]:
    place, ending = Path(out), Path(out).suffix.lower()
    is_folder = os.path.isdir(place) or out.endswith(("/", os.sep))
    kind, _ = mimetypes.guess_type(f"x{ending}")
    is_image = ending in images.SUPPORTED_SUFFIXES or (kind or "").startswith("image/")
    if not is_folder and is_image:
        return _single_target(found, place, ending, suffix)
    if os.path.exists(place) and not is_folder:
        raise InputError(f"{place}: is a file; pass a folder, or an image name for a single input")
    return [place / each.below.with_suffix(suffix or _writable(each.below.suffix)) for each in found]


def _writable(suffix: str) -> str:
    """`suffix`, or the default where it is missing or its format is only read."""
    return suffix if suffix.lower() in images.SUPPORTED_SUFFIXES else DEFAULT_SUFFIX


def _single_target(found: Sequence[_Found], place: Path, ending: str, suffix: str | None) -> list[Path]:
    if ending not in images.SUPPORTED_SUFFIXES:
        known = ", ".join(images.SUPPORTED_SUFFIXES)
        raise InputError(f"{place}: {ending} files cannot be written; use one of {known}, or a folder")
    if len(found) > 1 or not all(each.named for each in found):
        raise InputError(f"{place}: names one file, but the inputs may be several; pass a folder")
    if suffix is not None and find_format(suffix) is not find_format(ending):
        raise InputError(f"{place}: the name says {ending}, --format says {suffix}; drop --format")
    return [place for _ in found]


def _with_depth_views(jobs: Sequence[Job]) -> list[Job]:
    """The map of a.png is a.depth.png; if a.jpg is written too, the maps are a.png.depth.png and a.jpg.depth.png."""
    stems = Counter(job.target.with_suffix("") for job in jobs)
    return [
        Job(job.source, job.target, job.target.with_name(f"{name}.depth.png"))
        for job in jobs
        for name in [job.target.stem if stems[job.target.with_suffix("")] == 1 else job.target.name]
    ]


def _check_outputs(jobs: Sequence[Job]) -> None:
    """Refuse two jobs that write the same file, and a job that overwrites an input."""
    sources = {job.source.resolve(): job.source for job in jobs}
    writers: dict[Path, Job] = {}
    for job in jobs:
        for output in job.outputs:
            final = output.resolve()
            if final in sources:
                raise InputError(f"{output}: would overwrite the input {sources[final]}; choose another output")
            other = writers.setdefault(final, job)
            if other is not job:
                raise InputError(
                    f"{other.source} and {job.source} would both be written to {output}; "
                    "rename one, or choose separate output folders"
                )
