"""What a run is asked for, and what became of each image."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from adadsr import images
from adadsr.batch.jobs import Job
from adadsr.upscaler import ChainPlan, Report, Target


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
    with a note, instead of refusing the image. page: of files that have several, from 1; None upscales animations.
    """

    target: Target = field(default_factory=Target)
    quality: int | None = None
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    overwrite: bool = False
    accept_damaged: bool = False
    background: images.Color | None = None
    keep_time: bool = False
    clamp_budget: bool = False
    page: int | None = None


@dataclass(frozen=True)
class Result:
    """One image. reason: why it is not done. report: if it is done. seconds: of reading, upscaling and
    writing, which overlap those of other images.

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
    """A job that passed all checks, and the number of pixels of its input, in all frames of an animation."""

    job: Job
    pixels: int


class Planned(NamedTuple):
    """What a run would do. plan: of an image, or of the first of the frames of an animation."""

    job: Job
    plan: ChainPlan
    frames: int = 1


class Run(NamedTuple):
    """results: one per job. interrupted: whether the user stopped the run; the remaining jobs are then NOT_RUN.

    seconds: from beginning to end.
    """

    results: list[Result]
    interrupted: bool
    seconds: float


def named(job: Job, reason: str) -> str:
    """The reason, beginning with the file or folder it is about."""
    about = (str(job.source), *map(str, job.outputs), f"{job.target.parent}: ")
    return reason if reason.startswith(about) else f"{job.source}: {reason}"


def result_of(
    job: Job, status: Status, reason: str | None = None, report: Report | None = None, seconds: float = 0.0
) -> Result:
    """The result of one job."""
    return Result(job.source, job.target, job.depth_view, status, reason, report, seconds)
