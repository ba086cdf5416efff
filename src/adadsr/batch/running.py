"""Jobs -> results, in their order. A bad file becomes a result with a reason and does not stop the run.

While a network runs, the next image is read and the last one is written, as far as the memory limit allows.
"""

import contextvars
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from adadsr import atomic, depthview, images
from adadsr.batch.interrupts import Interrupts
from adadsr.batch.jobs import Job
from adadsr.batch.pipes import readable, write_stdout
from adadsr.batch.results import Measured, Options, Planned, Result, Run, Status, named, result_of
from adadsr.errors import AdaDSRError, ImageFileError
from adadsr.formats import format_for_writing
from adadsr.upscaler import Chain, ChainPlan, PreparedChain, Upscaled

READING_BYTES = 20
"""Bytes per pixel of an image that is read: 16-bit RGBA, and a copy of the decoder or of the network."""

logger = logging.getLogger(__name__)
_Value = TypeVar("_Value")


def dry_run(chain: Chain, measured: Iterable[Measured], options: Options) -> Iterator[Planned | Result]:
    """The plan of each image, or a FAILED result. Runs head and adapter only below full depth, and writes nothing."""
    for job, _ in measured:
        try:
            yield Planned(job, _plan(chain.prepare(_read(chain, job, options)), options))
        except AdaDSRError as error:
            yield result_of(job, Status.FAILED, named(job, str(error)))


def run(
    chain: Chain,
    measured: Sequence[Measured],
    options: Options,
    *,
    progress: Callable[[float], None] = lambda pixels: None,
    finished: Callable[[Result], None] = lambda result: None,
) -> Run:
    """Upscale all images, and write each as soon as it is done.

    progress: called with the number of input pixels that networks are done with, including parts of an image. finished:
    called with each result, in the order of the images. A KeyboardInterrupt ends the run cleanly: the image that is
    being written is completed, and an unfinished one leaves no file behind.
    """
    start, interrupted = time.perf_counter(), False
    with atomic.folders_synced_at_end(), Interrupts() as interrupts, _Stages(chain, measured, options) as stages:
        results = stages.results
        try:
            before = 0
            for index, (_, pixels) in enumerate(measured):

                def within(share: float, start: int = before, size: int = pixels) -> None:
                    progress(start + share * size)

                stages.upscale(index, within, interrupts, finished)
                before += pixels
                progress(before)
                interrupts.check()
            stages.settle(finished)
        except KeyboardInterrupt:
            interrupted = True
            stages.settle(finished)
    rest = [result_of(job, Status.NOT_RUN, "interrupted") for job, _ in measured[len(results) :]]
    return Run(results + rest, interrupted, time.perf_counter() - start)


@dataclass(frozen=True)
class _Outcome(Generic[_Value]):
    """What became of a step of one job: a value, or the reason of its failure."""

    value: _Value | None
    reason: str | None
    seconds: float


class _Writing(NamedTuple):
    """An image that is written. report: of its run. seconds: of reading and upscaling. size: bytes in memory."""

    job: Job
    upscaled: Upscaled
    seconds: float
    size: int
    outcome: "Future[_Outcome[tuple[str, ...]]]"


class _Stages:
    """One image is read ahead, one is upscaled, one is written; together they stay within the memory limit.

    results: of the images that are settled, in their order.
    """

    def __init__(self, chain: Chain, measured: Sequence[Measured], options: Options) -> None:
        self._chain, self._measured, self._options = chain, measured, options
        self._reader, self._writer = (ThreadPoolExecutor(1, f"adadsr-{name}") for name in ("read", "write"))
        self._reading: dict[int, Future[_Outcome[images.Picture]]] = {}
        self._writing: _Writing | None = None
        self.results: list[Result] = []

    def __enter__(self) -> "_Stages":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()

    def upscale(
        self, index: int, progress: Callable[[float], None], interrupts: Interrupts, finished: Callable[[Result], None]
    ) -> None:
        """Upscale an image, and begin to write it."""
        job = self._measured[index].job
        self._make_room(self._reading_bytes(index), finished)
        self._read_ahead(index, 0)
        read = self._reading.pop(index).result()
        if read.value is None:
            self._fail(job, read.reason, read.seconds, finished)
            return

        def compute() -> Upscaled:
            assert read.value is not None
            start = time.perf_counter()
            prepared = self._chain.prepare(read.value)
            self._make_room(prepared.bytes, finished)
            self._read_ahead(index + 1, prepared.bytes)
            with interrupts.at_once():
                result = prepared.run(_plan(prepared, self._options), progress=progress)
            return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))

        done = _attempt(job, compute)
        seconds = read.seconds + done.seconds
        if done.value is None:
            self._fail(job, done.reason, seconds, finished)
            return
        self.settle(finished)
        interrupts.check()
        self._write(job, _with_note(done.value, self._options), seconds)

    def settle(self, finished: Callable[[Result], None]) -> None:
        """Wait for the image that is written, if any, and add its result."""
        if self._writing is None:
            return
        job, upscaled, seconds, _, future = self._writing
        outcome = future.result()
        self._writing = None
        seconds += outcome.seconds
        if outcome.value is None:
            self._fail(job, outcome.reason, seconds, finished)
            return
        done = result_of(job, Status.DONE, report=upscaled.report, seconds=seconds)
        damage = None if upscaled.picture is None else upscaled.picture.damage
        self.results.append(replace(done, damage=damage, warnings=outcome.value))
        finished(self.results[-1])

    def _fail(self, job: Job, reason: str | None, seconds: float, finished: Callable[[Result], None]) -> None:
        self.settle(finished)
        self.results.append(result_of(job, Status.FAILED, reason, seconds=seconds))
        finished(self.results[-1])

    def _reading_bytes(self, index: int) -> int:
        return READING_BYTES * self._measured[index].pixels

    def _read_ahead(self, index: int, running: int) -> None:
        """Begin to read an image, unless it has no room beside a run of so many bytes and what is written."""
        if index in self._reading or index >= len(self._measured):
            return
        writing = 0 if self._writing is None else self._writing.size
        if running == 0 or running + writing + self._reading_bytes(index) <= self._chain.memory:
            job = self._measured[index].job
            self._reading[index] = self._reader.submit(_attempt, job, lambda: _read(self._chain, job, self._options))

    def _make_room(self, wanted: int, finished: Callable[[Result], None]) -> None:
        """Wait for the image that is written if so many bytes do not fit beside it."""
        if self._writing is not None and self._writing.size + wanted > self._chain.memory:
            self.settle(finished)

    def _write(self, job: Job, upscaled: Upscaled, seconds: float) -> None:
        assert upscaled.picture is not None
        size = round(upscaled.picture.pixels.nbytes * (1 + format_for_writing(str(job.target)).encoder_copies))
        blocks = self._chain.config.n_resblocks
        context = contextvars.copy_context()  # folders are synced at the end of the run

        def work() -> _Outcome[tuple[str, ...]]:
            return _attempt(job, lambda: context.run(_write, job, upscaled, blocks, self._options))

        self._writing = _Writing(job, upscaled, seconds, size, self._writer.submit(work))


def _attempt(job: Job, work: Callable[[], _Value]) -> _Outcome[_Value]:
    """Do a step of a job. A bug that one image triggers must not cost the user all the others."""
    start, reason = time.perf_counter(), None
    try:
        return _Outcome(work(), None, time.perf_counter() - start)
    except AdaDSRError as error:
        reason = str(error)
    except Exception as error:
        logger.debug("%s", job.source, exc_info=True)
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        if isinstance(error, MemoryError) or "memory" in reason.lower():
            reason += "; lower --memory or --tile"
    return _Outcome(None, named(job, reason), time.perf_counter() - start)


def _plan(prepared: PreparedChain, options: Options) -> ChainPlan:
    budget = options.target.budget
    if budget is not None and options.clamp_budget:
        budget = max(budget, prepared.least_budget)
    return prepared.plan(depth=options.target.depth, budget=budget)


def _with_note(result: Upscaled, options: Options) -> Upscaled:
    """The result with what was asked for, and a note if it ran at another budget."""
    asked, used, picture = options.target.budget, result.report.requested_budget, result.picture
    if asked == used or asked is None or used is None or picture is None:
        return result
    note = f"budget {asked:g} is too small for this image; ran at its smallest, {used:.3f}"
    picture = replace(picture, notes=(*picture.notes, note))
    return replace(result, picture=picture, report=replace(result.report, requested_budget=asked))


def _read(chain: Chain, job: Job, options: Options) -> images.Picture:
    """The input. Raises ImageFileError if it cannot be read, or if the output's format cannot hold the result."""
    picture = images.read_image(readable(job), max_pixels=options.max_pixels, accept_damaged=options.accept_damaged)
    if options.background is not None:
        picture = images.flatten(picture, options.background)
    height, width = chain.size.of(picture.height, picture.width)
    images.check_fits(job.target, height, width, transparent=picture.is_transparent)
    return picture


def _write(job: Job, result: Upscaled, n_blocks: int, options: Options) -> tuple[str, ...]:
    """Write the outputs of a job, the image last: if it exists, everything else does. Returns warnings."""
    if job.depth_view is not None:
        view = depthview.draw(result.depth_map, n_blocks)
        images.write_image(job.depth_view, view)  # a map without its image is left from an interrupted run
    picture = result.picture
    assert picture is not None
    if job.to_stdout:
        write_stdout(images.encode(picture, job.target.suffix, quality=options.quality))
    else:
        images.write_image(job.target, picture, quality=options.quality, overwrite=options.overwrite)
    if options.keep_time:
        _keep_time(job)
    return (*picture.notes, *images.losses(job.target, picture))


def _keep_time(job: Job) -> None:
    """Give the output the modification time of the input."""
    try:
        before = job.source.stat()
        os.utime(job.target, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        raise ImageFileError(f"{job.target}: written, but its time cannot be set ({error.strerror})") from error
