"""Jobs -> results, one after the other. A bad file becomes a result with a reason and does not stop the run."""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from adadsr import atomic, depthview, images
from adadsr.batch.interrupts import Interrupts
from adadsr.batch.jobs import Job, Jobs
from adadsr.errors import AdaDSRError, ImageFileError
from adadsr.upscaler import Plan, Report, Target, Upscaled, Upscaler

logger = logging.getLogger(__name__)


class Status(Enum):
    """Outcome of a job."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Options:
    """How images are run: a target; quality, max_pixels, overwrite and accept_damaged as for `images`."""

    target: Target = field(default_factory=Target)
    quality: int | None = None
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    overwrite: bool = False
    accept_damaged: bool = False


@dataclass(frozen=True)
class Result:
    """One image. reason: why it is not done. report: if it is done. seconds: including reading and writing.

    damage: what is wrong with an input of which only a part was decoded. warnings: what else a user should know.
    """

    source: Path
    target: Path | None
    depth_view: Path | None
    status: Status
    reason: str | None = None
    report: Report | None = None
    seconds: float = 0.0
    damage: str | None = None
    warnings: tuple[str, ...] = ()


class Measured(NamedTuple):
    """A job that passed all checks, and the number of pixels of its input."""

    job: Job
    pixels: int


class Run(NamedTuple):
    """results: one per job. interrupted: whether the user stopped the run; the remaining jobs are then NOT_RUN."""

    results: list[Result]
    interrupted: bool


def settled(jobs: Jobs) -> list[Result]:
    """Results known before anything runs: inputs without an image, and targets that exist."""
    failed = [Result(source, None, None, Status.FAILED, reason) for source, reason in jobs.failures]
    return failed + [_result(job, Status.SKIPPED, _existing(job)) for job in jobs.existing]


def _existing(job: Job) -> str:
    if job.depth_view is not None and not job.depth_view.exists():
        return "output exists but its depth map does not; pass --overwrite to write both"
    return "output already exists; pass --overwrite to replace it"


def check_target(upscaler: Upscaler, options: Options) -> None:
    """Raise InputError if the network cannot run at the depth or budget of the options."""
    options.target.check(upscaler.engine.network)


def measure(
    jobs: Iterable[Job], scale: int, options: Options, *, dry_run: bool = False
) -> tuple[list[Measured], list[Result]]:
    """Check everything possible without decoding, make the output folders and prove that they are writable.

    dry_run: check the folders without writing anything.
    Returns the jobs that can run and a FAILED result for each of the others. Raises ImageFileError for a folder that
    cannot be made or written to, InputError for an invalid quality or limit.
    """
    measured, failed, folders = [], [], set()
    for job in jobs:
        try:
            height, width = images.read_size(job.source, max_pixels=options.max_pixels)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
            continue
        if job.target.parent not in folders:
            (_check_folder if dry_run else make_folder)(job.target.parent)
            folders.add(job.target.parent)
        try:
            images.check_fits(job.target, height * scale, width * scale, quality=options.quality)
            for output in job.outputs:
                if output.parent.exists():  # in a dry run it may not
                    images.check_writable(output)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
        else:
            measured.append(Measured(job, height * width))
    return measured, failed


def dry_run(upscaler: Upscaler, measured: Iterable[Measured], options: Options) -> Iterator[tuple[Job, Plan] | Result]:
    """The plan of each image, or a FAILED result. Runs head and adapter only below full depth, and writes nothing."""
    for job, _ in measured:
        try:
            prepared = upscaler.prepare(_read(upscaler, job, options), score=False)
            yield job, prepared.plan(depth=options.target.depth, budget=options.target.budget)
        except AdaDSRError as error:
            yield _result(job, Status.FAILED, _named(job, str(error)))


def run(
    upscaler: Upscaler,
    measured: Sequence[Measured],
    options: Options,
    *,
    progress: Callable[[float], None] = lambda pixels: None,
    finished: Callable[[Result], None] = lambda result: None,
) -> Run:
    """Upscale one image after the other, and write each as soon as it is done.

    progress: called with the number of input pixels done so far, including parts of an image. finished: called with
    each result. A KeyboardInterrupt ends the run cleanly: an unfinished image leaves no file behind.
    """
    results: list[Result] = []
    before = 0
    with atomic.folders_synced_at_end(), Interrupts() as interrupts:
        try:
            for job, pixels in measured:

                def within(share: float, start: int = before, size: int = pixels) -> None:
                    progress(start + share * size)

                result = _run_one(upscaler, job, options, within, interrupts)
                results.append(result)
                before += pixels
                progress(before)
                finished(result)
                interrupts.check()
        except KeyboardInterrupt:
            rest = [_result(job, Status.NOT_RUN, "interrupted") for job, _ in measured[len(results) :]]
            return Run(results + rest, interrupted=True)
    return Run(results, interrupted=False)


def _run_one(
    upscaler: Upscaler, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
) -> Result:
    start = time.perf_counter()
    try:
        result = _upscale(upscaler, job, options, progress, interrupts)
    except AdaDSRError as error:
        return _result(job, Status.FAILED, _named(job, str(error)), seconds=time.perf_counter() - start)
    except Exception as error:  # a bug that one image triggers must not cost the user all the others
        logger.debug("%s", job.source, exc_info=True)
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        if isinstance(error, MemoryError) or "memory" in reason.lower():
            reason += "; lower --memory or --tile"
        return _result(job, Status.FAILED, _named(job, reason), seconds=time.perf_counter() - start)
    done, picture = _result(job, Status.DONE, report=result.report, seconds=time.perf_counter() - start), result.picture
    assert picture is not None
    return replace(done, damage=picture.damage, warnings=(*picture.notes, *images.losses(job.target, picture)))


def _upscale(
    upscaler: Upscaler, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
) -> Upscaled:
    """Run one job. The image is written last, so if it exists, everything else does."""
    picture = _read(upscaler, job, options)
    with interrupts.at_once():
        result = upscaler(picture, depth=options.target.depth, budget=options.target.budget, progress=progress)
    if job.depth_view is not None:
        view = depthview.draw(result.depth_map, upscaler.config.n_resblocks)
        images.write_image(job.depth_view, view)  # a map without its image is left from an interrupted run
    assert result.picture is not None
    images.write_image(job.target, result.picture, quality=options.quality, overwrite=options.overwrite)
    return result


def _read(upscaler: Upscaler, job: Job, options: Options) -> images.Picture:
    """The input. Raises ImageFileError if it cannot be read, or if the output's format cannot hold the result."""
    picture = images.read_image(job.source, max_pixels=options.max_pixels, accept_damaged=options.accept_damaged)
    height, width = picture.height * upscaler.scale, picture.width * upscaler.scale
    images.check_fits(job.target, height, width, transparent=picture.is_transparent)
    return picture


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


def _named(job: Job, reason: str) -> str:
    """The reason, beginning with the file it is about."""
    about = (str(job.source), *map(str, job.outputs))
    return reason if reason.startswith(about) else f"{job.source}: {reason}"


def _result(
    job: Job, status: Status, reason: str | None = None, report: Report | None = None, seconds: float = 0.0
) -> Result:
    return Result(job.source, job.target, job.depth_view, status, reason, report, seconds)
