"""Jobs -> results, one after the other. A bad file is a result with its reason; it stops nothing."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from adadsr import atomic, depthview, images
from adadsr.batch.interrupts import Interrupts
from adadsr.batch.planning import Job, Plan
from adadsr.errors import AdaDSRError, ImageFileError
from adadsr.upscaler import Report, Upscaled, Upscaler
from adadsr.upscaler.report import Target

logger = logging.getLogger(__name__)


class Status(Enum):
    """What became of a job."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Options:
    """How images are run: depth and budget as for `Upscaler`, quality, max_pixels and overwrite as for `images`."""

    depth: float | None = None
    budget: float | None = None
    quality: int | None = None
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class Result:
    """One image. reason: why it is not done. report: where it is. seconds: reading and writing included."""

    source: Path
    target: Path | None
    depth_view: Path | None
    status: Status
    reason: str | None = None
    report: Report | None = None
    seconds: float = 0.0


class Measured(NamedTuple):
    """A job that can be run, as far as can be told beforehand, and the pixels of its input."""

    job: Job
    pixels: int


class Run(NamedTuple):
    """results: one for each job. interrupted: whether the user stopped it; the rest is then NOT_RUN."""

    results: list[Result]
    interrupted: bool


def settled(plan: Plan) -> list[Result]:
    """The results that are there before anything is run: inputs without an image, and targets that exist."""
    failed = [Result(source, None, None, Status.FAILED, reason) for source, reason in plan.failures]
    return failed + [_result(job, Status.SKIPPED, _existing(job)) for job in plan.existing]


def _existing(job: Job) -> str:
    if job.depth_view is not None and not job.depth_view.exists():
        return "the output exists already, but not its depth map; pass --overwrite to make both"
    return "the output exists already; pass --overwrite to replace it"


def check_target(upscaler: Upscaler, options: Options) -> None:
    """Raise InputError where the network cannot run at the depth or budget of the options."""
    network = upscaler.network
    Target(options.depth, options.budget).check(network.config.n_resblocks, adaptive=network.adapter is not None)


def measure(jobs: Iterable[Job], scale: int, options: Options) -> tuple[list[Measured], list[Result]]:
    """Check all that can be checked without decoding, and make the output folders.

    Returns the jobs that can run, and a FAILED result for each of the others. Raises ImageFileError for a folder that
    cannot be made or written to, InputError for a quality or limit that is not allowed.
    """
    measured, failed, folders = [], [], set()
    for job in jobs:
        try:
            height, width = images.read_size(job.source, max_pixels=options.max_pixels)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
            continue
        if job.target.parent not in folders:
            make_folder(job.target.parent)
            folders.add(job.target.parent)
        try:
            for output in job.outputs:
                images.check_writable(output, height * scale, width * scale, quality=options.quality)
        except ImageFileError as error:
            failed.append(_result(job, Status.FAILED, str(error)))
        else:
            measured.append(Measured(job, height * width))
    return measured, failed


def run(
    upscaler: Upscaler,
    measured: Sequence[Measured],
    options: Options,
    *,
    progress: Callable[[float], None] = lambda pixels: None,
    finished: Callable[[Result], None] = lambda result: None,
) -> Run:
    """Enlarge image after image, and write each as soon as it is done.

    progress: called with the input pixels done so far, parts of an image included. finished: called with each result.
    A KeyboardInterrupt ends the run cleanly: what was begun leaves no file behind.
    """
    results: list[Result] = []
    before = 0
    with Interrupts() as interrupts:
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
        report = _upscale(upscaler, job, options, progress, interrupts).report
    except AdaDSRError as error:
        return _result(job, Status.FAILED, _named(job, str(error)), seconds=time.perf_counter() - start)
    except Exception as error:  # a fault of ours with one image must not cost the user all the others
        logger.debug("%s", job.source, exc_info=True)
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        if isinstance(error, MemoryError) or "memory" in reason.lower():
            reason += "; give smaller tiles with --tile or --memory"
        return _result(job, Status.FAILED, _named(job, reason), seconds=time.perf_counter() - start)
    return _result(job, Status.DONE, report=report, seconds=time.perf_counter() - start)


def _upscale(
    upscaler: Upscaler, job: Job, options: Options, progress: Callable[[float], None], interrupts: Interrupts
) -> Upscaled:
    """Run one job; the image is written last, so that where it is there the rest is there too."""
    picture = images.read_image(job.source, max_pixels=options.max_pixels)
    size = picture.height * upscaler.scale, picture.width * upscaler.scale
    images.check_writable(
        job.target,
        *size,
        transparent=picture.is_transparent,
        quality=options.quality,
        overwrite=options.overwrite,
    )
    with interrupts.at_once():
        result = upscaler(picture, depth=options.depth, budget=options.budget, progress=progress)
    if job.depth_view is not None:
        view = depthview.draw(result.depth_map, upscaler.network.config.n_resblocks)
        images.write_image(job.depth_view, view)  # one that is there without its image is from an interrupted run
    assert result.picture is not None
    images.write_image(job.target, result.picture, quality=options.quality, overwrite=options.overwrite)
    return result


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, and prove that files can be written there; else raise ImageFileError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.check_folder(folder)
    except OSError as error:
        cause = error.strerror or str(error)
        raise ImageFileError(f"{folder}: no files can be written there ({cause}); choose another folder") from error


def _named(job: Job, reason: str) -> str:
    """A reason that begins with the file it is about."""
    about = (str(job.source), *map(str, job.outputs))
    return reason if reason.startswith(about) else f"{job.source}: {reason}"


def _result(
    job: Job, status: Status, reason: str | None = None, report: Report | None = None, seconds: float = 0.0
) -> Result:
    return Result(job.source, job.target, job.depth_view, status, reason, report, seconds)
