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
from adadsr.batch.pipes import readable, write_stdout
from adadsr.errors import AdaDSRError, BudgetError, ImageFileError, InputError
from adadsr.upscaler import Chain, Plan, Prepared, Report, Size, Target, Upscaled, Upscaler

logger = logging.getLogger(__name__)


class Status(Enum):
    """Outcome of a job."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Options:
    """How images are run.

    target: how much of the network runs. quality, max_pixels, overwrite, accept_damaged: as for `images`. background:
    the colour onto which transparent images are flattened; None keeps transparency. keep_time: give outputs the
    modification time of their inputs. clamp_budget: raise a budget that is too small for an image to the smallest one,
    with a note, instead of refusing the image.
    """

    target: Target = field(default_factory=Target)
    quality: int | None = None
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    overwrite: bool = False
    accept_damaged: bool = False
    background: images.Color | None = None
    keep_time: bool = False
    clamp_budget: bool = False


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


class Planned(NamedTuple):
    """What a run would do: the plan of the first network, the scales of all, and the height and width of the output."""

    job: Job
    plan: Plan
    steps: tuple[int, ...]
    after: tuple[int, int]


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


def check_target(upscaler: Upscaler | Chain, options: Options) -> None:
    """Raise InputError if the network cannot run at the depth or budget of the options."""
    options.target.check(upscaler.engine.network)


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
            height, width = images.read_size(readable(job), max_pixels=options.max_pixels)
            after = size.of(height, width)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
            continue
        except InputError as error:
            failed.append(_result(job, Status.FAILED, _named(job, str(error))))
            continue
        if not job.to_stdout and job.target.parent not in folders:
            (_check_folder if dry_run else make_folder)(job.target.parent)
            folders.add(job.target.parent)
        try:
            images.check_fits(job.target, *after, quality=options.quality)
            for output in () if job.to_stdout else job.outputs:
                if output.parent.exists():  # in a dry run it may not
                    images.check_writable(output)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
        else:
            measured.append(Measured(job, height * width))
    return measured, failed


def dry_run(upscaler: Upscaler | Chain, measured: Iterable[Measured], options: Options) -> Iterator[Planned | Result]:
    """The plan of each image, or a FAILED result. Runs head and adapter only below full depth, and writes nothing."""
    for job, _ in measured:
        try:
            picture = _read(upscaler, job, options)
            plan = _plan_clamped(upscaler.prepare(picture, score=False), options)
            steps = upscaler.steps(picture.height, picture.width)
            yield Planned(job, plan, steps, upscaler.size.of(picture.height, picture.width))
        except AdaDSRError as error:
            yield _result(job, Status.FAILED, _named(job, str(error)))


def _plan_clamped(prepared: Prepared, options: Options) -> Plan:
    try:
        return prepared.plan(depth=options.target.depth, budget=options.target.budget, max_loss=options.target.max_loss)
    except BudgetError as error:
        if not options.clamp_budget:
            raise
        return prepared.plan(budget=error.least)


def run(
    upscaler: Upscaler | Chain,
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
    upscaler: Upscaler | Chain, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
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
    upscaler: Upscaler | Chain, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
) -> Upscaled:
    """Run one job. The image is written last, so if it exists, everything else does."""
    picture = _read(upscaler, job, options)
    with interrupts.at_once():
        result = _upscale_clamped(upscaler, picture, options, progress)
    if job.depth_view is not None:
        view = depthview.draw(result.depth_map, upscaler.config.n_resblocks)
        images.write_image(job.depth_view, view)  # a map without its image is left from an interrupted run
    assert result.picture is not None
    if job.to_stdout:
        write_stdout(images.encode(result.picture, job.target.suffix, quality=options.quality))
    else:
        images.write_image(job.target, result.picture, quality=options.quality, overwrite=options.overwrite)
    if options.keep_time:
        _keep_time(job)
    return result


def _upscale_clamped(
    upscaler: Upscaler | Chain, picture: images.Picture, options: Options, progress: Callable[[float], None]
) -> Upscaled:
    target, budget = options.target, options.target.budget
    while True:  # each network of a chain may need more
        try:
            result = upscaler(picture, depth=target.depth, budget=budget, max_loss=target.max_loss, progress=progress)
        except BudgetError as error:
            if not options.clamp_budget:
                raise
            budget = error.least
        else:
            break
    if budget == target.budget or result.picture is None:
        return result
    note = f"budget {target.budget:g} is too small for this image; ran at its smallest, {budget:.3f}"
    picture = replace(result.picture, notes=(*result.picture.notes, note))
    return replace(result, picture=picture, report=replace(result.report, requested_budget=target.budget))


def _keep_time(job: Job) -> None:
    """Give the output the modification time of the input."""
    try:
        before = job.source.stat()
        os.utime(job.target, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        raise ImageFileError(f"{job.target}: written, but its time cannot be set ({error.strerror})") from error


def _read(upscaler: Upscaler | Chain, job: Job, options: Options) -> images.Picture:
    """The input. Raises ImageFileError if it cannot be read, or if the output's format cannot hold the result."""
    picture = images.read_image(readable(job), max_pixels=options.max_pixels, accept_damaged=options.accept_damaged)
    if options.background is not None:
        picture = images.flatten(picture, options.background)
    height, width = upscaler.size.of(picture.height, picture.width)
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
