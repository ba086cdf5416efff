"""The steps of one job: read, plan, write; and what becomes of a failure."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from adadsr import depthview, images
from adadsr.batch.jobs import Job
from adadsr.batch.pipes import readable, write_stdout
from adadsr.batch.results import Options, named
from adadsr.errors import AdaDSRError, ImageFileError, cause_of
from adadsr.upscaler import Chain, ChainPlan, PreparedChain, Report, Target, Upscaled

logger = logging.getLogger(__name__)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of a step of one job: a value, or the reason of its failure."""

    value: Value | None
    reason: str | None
    seconds: float


class Done(NamedTuple):
    """A job that is done. damage, warnings: see `Result`."""

    report: Report
    warnings: tuple[str, ...]
    damage: str | None = None


def attempt(job: Job, work: Callable[[], Value]) -> Outcome[Value]:
    """Do a step of a job. A bug that one image triggers must not cost the user all the others."""
    start, reason = time.perf_counter(), None
    try:
        return Outcome(work(), None, time.perf_counter() - start)
    except AdaDSRError as error:
        reason = str(error)
    except Exception as error:
        logger.debug("%s", job.source, exc_info=True)
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        if isinstance(error, MemoryError) or "memory" in reason.lower():
            reason += "; lower --memory or --tile"
    return Outcome(None, named(job, reason), time.perf_counter() - start)


def options_for(job: Job, options: Options) -> Options:
    """The options of a job."""
    return options if job.least_gain is None else replace(options, target=Target(least_gain=job.least_gain))


def plan_of(prepared: PreparedChain, options: Options) -> ChainPlan:
    budget = options.target.budget
    if budget is not None and options.clamp_budget:
        budget = max(budget, prepared.least_budget)
    return prepared.plan(**vars(replace(options.target, budget=budget)))


def with_note(result: Upscaled, options: Options) -> Upscaled:
    """The result with what was asked for, and a note if it ran at another budget."""
    asked, used, picture = options.target.budget, result.report.requested_budget, result.picture
    if asked == used or asked is None or used is None or picture is None:
        return result
    note = f"budget {asked:g} is too small for this image; ran at its smallest, {used:.3f}"
    picture = replace(picture, notes=(*picture.notes, note))
    return replace(result, picture=picture, report=replace(result.report, requested_budget=asked))


def read(chain: Chain, job: Job, options: Options) -> images.Picture:
    """The input. Raises ImageFileError if it cannot be read, or if the output's format cannot hold the result."""
    picture = images.read_image(
        readable(job), max_pixels=options.max_pixels, accept_damaged=options.accept_damaged, page=options.page
    )
    if options.background is not None:
        picture = images.flatten(picture, options.background)
    height, width = chain.size.of(picture.height, picture.width)
    images.check_fits(job.target, height, width, transparent=picture.is_transparent)
    return picture


def write(job: Job, result: Upscaled, n_blocks: int, options: Options) -> tuple[str, ...]:
    """Write the outputs of a job, the image last: if it exists, everything else does. Returns warnings."""
    write_depth_view(job, result.depth_map, n_blocks, options)
    picture = result.picture
    assert picture is not None
    if job.store is not None:
        job.store.put(images.encode(picture, job.target.suffix, quality=options.quality))
    elif job.to_stdout:
        write_stdout(images.encode(picture, job.target.suffix, quality=options.quality))
    else:
        images.write_image(job.target, picture, quality=options.quality, overwrite=options.overwrite)
    if options.keep_time:
        keep_time(job)
    return (*picture.notes, *images.losses(job.target, picture))


def write_depth_view(job: Job, depth_map: npt.NDArray[np.float32], n_blocks: int, options: Options) -> None:
    """Write the picture of a depth map, if the job has one."""
    if job.depth_view is not None:
        view = depthview.draw(depth_map, n_blocks)
        images.write_image(job.depth_view, view, overwrite=may_replace_view(job.depth_view, options))


def may_replace_view(path: Path, options: Options) -> bool:
    """Whether the picture of a depth map may replace a file: an interrupted run may have left one."""
    return options.overwrite or depthview.is_drawn(path)


def keep_time(job: Job) -> None:
    """Give the output the modification time of the input."""
    try:
        before = job.source.stat()
        os.utime(job.target, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        what = "written, but its modification time cannot be set"
        raise ImageFileError(f"{job.target}: {what} ({cause_of(error)})") from error
