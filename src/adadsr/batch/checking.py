"""Checks of all jobs before anything runs: sizes, formats, folders."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from adadsr import atomic, images
from adadsr.batch.animating import facts_of
from adadsr.batch.jobs import Job, Jobs
from adadsr.batch.pipes import readable
from adadsr.batch.results import Measured, Options, Result, Status, named, result_of
from adadsr.errors import ImageFileError, InputError
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
    options.target.check(chain.engine.network)


def measure(
    jobs: Iterable[Job], size: Size | int, options: Options, *, dry_run: bool = False
) -> tuple[list[Measured], list[Result]]:
    """Check everything possible without decoding, make the output folders and prove that they are writable.

    size: of the outputs; an int is a scale. dry_run: check the folders without writing anything.
    Returns the jobs that can run and a FAILED result for each of the others. Raises ImageFileError for a folder that
    cannot be made or written to, InputError for an invalid quality or limit.
    """
    measured, failed, folders = [], [], set()
    size = Size(scale=size) if isinstance(size, int) else size
    for job in jobs:
        try:
            facts = facts_of(job, options)
            if facts is None:
                height, width = images.read_size(readable(job), max_pixels=options.max_pixels, page=options.page)
            else:
                height, width = facts.height, facts.width
            after = size.of(height, width)
        except ImageFileError as error:
            failed.append(result_of(job, Status.FAILED, str(error)))
            continue
        except InputError as error:
            failed.append(result_of(job, Status.FAILED, named(job, str(error))))
            continue
        if job.writes_file and job.target.parent not in folders:
            (_check_folder if dry_run else make_folder)(job.target.parent)
            folders.add(job.target.parent)
        try:
            images.check_fits(job.target, *after, quality=options.quality, animated=facts is not None)
            for output in job.outputs if job.writes_file else ():
                if output.parent.exists():  # in a dry run it may not
                    images.check_writable(output)
        except ImageFileError as error:
            failed.append(result_of(job, Status.FAILED, str(error)))
        else:
            frames = 1 if facts is None else len(facts.delays)
            measured.append(Measured(job, height * width * frames))
    return measured, failed


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and prove that it is writable; otherwise raise ImageFileError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.check_folder(folder)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error


def _check_folder(folder: Path) -> None:
    """Raise ImageFileError if `make_folder` would, as far as that shows without writing."""
    first = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not first.is_dir():
        raise _unwritable(folder, f"{first} is not a folder")
    if not os.access(first, os.W_OK | os.X_OK):
        raise _unwritable(folder, os.strerror(errno.EACCES))


def _unwritable(folder: Path, cause: str) -> ImageFileError:
    return ImageFileError(f"{folder}: folder is not writable ({cause}); choose another")
