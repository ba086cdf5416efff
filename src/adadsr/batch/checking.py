"""Checks of all jobs before anything runs: sizes, formats, folders."""

import errno
import os
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from adadsr import atomic, images
from adadsr.batch.animating import facts_of
from adadsr.batch.jobs import Job, Jobs
from adadsr.batch.pipes import readable
from adadsr.batch.results import Measured, Options, Result, Status, result_of
from adadsr.batch.steps import attempt, may_replace_view
from adadsr.errors import ImageFileError, cause_of
from adadsr.upscaler import Chain, Size


def settled(jobs: Jobs) -> list[Result]:
    """Results known before anything runs: inputs without an image, and targets that exist."""
    failed = [Result(source, None, None, Status.FAILED, reason) for source, reason in jobs.failures]
    return failed + [result_of(job, Status.SKIPPED, _existing(job)) for job in jobs.existing]


def _existing(job: Job) -> str:
    if job.depth_view is not None and not job.depth_view.exists():
        return "output exists but its depth map does not; pass --overwrite to write both"
    return "output already exists; pass --overwrite to replace it"


def check_target(chain: Chain, options: Options) -> None:
    """Raise InputError if the network cannot run at the depth or budget of the options."""
    options.target.check(chain.engine.network, chain.first.name)


def measure(
    jobs: Iterable[Job], size: Size, options: Options, *, dry_run: bool = False
) -> tuple[list[Measured], list[Result]]:
    """Check everything possible without decoding, make the output folders and prove that they are writable.

    size: of the outputs. dry_run: check the folders without writing anything.
    Returns the jobs that can run and a FAILED result for each of the others. Raises InputError for an invalid quality.
    """
    images.check_quality(options.quality)
    measured, failed = [], []
    folder_error = cache(_check_folder if dry_run else make_folder)
    for job in jobs:
        checked = attempt(job, partial(_checked, job, size, options, folder_error))
        if checked.value is None:
            failed.append(result_of(job, Status.FAILED, checked.reason))
        else:
            measured.append(checked.value)
    return measured, failed


def _checked(job: Job, size: Size, options: Options, folder_error: Callable[[Path], str | None]) -> Measured:
    """A job that can run. folder_error: what is wrong with a folder. Raises ImageFileError."""
    pixels, (height, width), is_animated = _sizes(job, size, options)
    images.check_fits(job.target, height, width, animated=is_animated)
    if job.writes_file:
        if reason := folder_error(job.target.parent):
            raise ImageFileError(reason)
        if job.target.parent.exists():  # in a dry run it may not
            images.check_writable(job.target)
            if job.depth_view is not None:
                images.check_writable(job.depth_view, overwrite=may_replace_view(job.depth_view, options))
    return Measured(job, pixels)


def _sizes(job: Job, size: Size, options: Options) -> tuple[int, tuple[int, int], bool]:
    """Pixels of the input in all its frames, height and width of the output, and whether the input is an animation."""
    facts = facts_of(job, options)
    if facts is None:
        height, width = images.read_size(readable(job), max_pixels=options.max_pixels, page=options.page)
        return height * width, size.of(height, width), False
    return facts.height * facts.width * len(facts.delays), size.of(facts.height, facts.width), True


def make_folder(folder: Path) -> str | None:
    """Make a folder and prove that it is writable. Returns what is wrong with it."""
    try:
        atomic.make_folder(folder)
    except OSError as error:
        return _unwritable(folder, cause_of(error))
    return None


def _check_folder(folder: Path) -> str | None:
    """What `make_folder` would return, as far as that shows without writing."""
    first = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not first.is_dir():
        return _unwritable(folder, f"{first} is not a folder")
    if not os.access(first, os.W_OK | os.X_OK):
        return _unwritable(folder, os.strerror(errno.EACCES))
    return None


def _unwritable(folder: Path, cause: str) -> str:
    return f"{folder}: folder is not writable ({cause}); choose another"
