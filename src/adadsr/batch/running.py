"""Jobs -> results, in their order. A bad file becomes a result with a reason and does not stop the run.

While a network runs, the next image is read and the last one is written, as far as the memory limit allows.
"""

import contextlib
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from adadsr import atomic, images
from adadsr.batch.animating import facts_of, first_frame, upscale_frames
from adadsr.batch.interrupts import Interrupts
from adadsr.batch.jobs import Job
from adadsr.batch.results import Measured, Options, Planned, Result, Run, Status, result_of
from adadsr.batch.steps import Done, Outcome, attempt, options_for, plan_of, read, with_note, write
from adadsr.formats import format_for_writing
from adadsr.upscaler import Chain, Upscaled

_NICENESS = 10
READING_BYTES = 20
"""Bytes per pixel of an image that is read: 16-bit RGBA, and a copy of the decoder or of the network."""


def dry_run(chain: Chain, measured: Iterable[Measured], options: Options) -> Iterator[Planned | Result]:
    """The plan of each image, or a FAILED result. Runs head and adapter only below full depth, and writes nothing."""
    for job, _ in measured:
        planned = attempt(job, partial(_planned, chain, job, options))
        yield planned.value or result_of(job, Status.FAILED, planned.reason)


def _planned(chain: Chain, job: Job, options: Options) -> Planned:
    facts = facts_of(job, options)
    picture = read(chain, job, options) if facts is None else first_frame(job, options)
    return Planned(job, plan_of(chain.prepare(picture), options), 1 if facts is None else len(facts.delays))


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


class _Writing(NamedTuple):
    """An image that is written. seconds: of reading and upscaling. size: bytes in memory."""

    job: Job
    upscaled: Upscaled
    seconds: float
    size: int
    outcome: "Future[Outcome[tuple[str, ...]]]"


class _Stages:
    """One image is read ahead, one is upscaled, one is written; together they stay within the memory limit.

    results: of the images that are settled, in their order.
    """

    def __init__(self, chain: Chain, measured: Sequence[Measured], options: Options) -> None:
        self._chain, self._measured, self._options = chain, measured, options
        self._reader, self._writer = (
            ThreadPoolExecutor(1, f"adadsr-{name}", initializer=_give_way) for name in ("read", "write")
        )
        self._reading: dict[int, Future[Outcome[images.Picture | images.Facts]]] = {}
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
        options = options_for(job, self._options)
        self._make_room(self._reading_bytes(index), finished)
        self._read_ahead(index, 0)
        source = self._reading.pop(index).result()
        if source.value is None:
            self._add(job, Outcome(None, source.reason, source.seconds), 0, finished)
            return

        if isinstance(source.value, images.Facts):
            self.settle(finished)
            animated = attempt(job, lambda: upscale_frames(self._chain, job, options, progress, interrupts))
            self._add(job, animated, source.seconds, finished)
            return
        picture = source.value

        def compute() -> Upscaled:
            start = time.perf_counter()
            prepared = self._chain.prepare(picture)
            self._make_room(prepared.bytes, finished)
            self._read_ahead(index + 1, prepared.bytes)
            with interrupts.at_once():
                result = prepared.run(plan_of(prepared, options), progress=progress)
            return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))

        done = attempt(job, compute)
        seconds = source.seconds + done.seconds
        if done.value is None:
            self._add(job, Outcome(None, done.reason, seconds), 0, finished)
            return
        self.settle(finished)
        interrupts.check()
        self._write(job, with_note(done.value, options), seconds)

    def settle(self, finished: Callable[[Result], None]) -> None:
        """Wait for the image that is written, if any, and add its result."""
        if self._writing is None:
            return
        job, upscaled, seconds, _, future = self._writing
        written, self._writing = future.result(), None
        damage = None if upscaled.picture is None else upscaled.picture.damage
        done = None if written.value is None else Done(upscaled.report, written.value, damage)
        self._add(job, Outcome(done, written.reason, written.seconds), seconds, finished)

    def _add(self, job: Job, outcome: Outcome[Done], before: float, finished: Callable[[Result], None]) -> None:
        """Add a result. before: seconds that earlier steps took."""
        self.settle(finished)
        seconds = before + outcome.seconds
        if outcome.value is None:
            result = result_of(job, Status.FAILED, outcome.reason, seconds=seconds)
        else:
            report, warnings, damage = outcome.value
            result = replace(
                result_of(job, Status.DONE, report=report, seconds=seconds), damage=damage, warnings=warnings
            )
        self.results.append(result)
        finished(result)

    def _reading_bytes(self, index: int) -> int:
        return READING_BYTES * self._measured[index].pixels

    def _read_ahead(self, index: int, running: int) -> None:
        """Begin to read an image, unless it has no room beside a run of so many bytes and what is written."""
        if index in self._reading or index >= len(self._measured):
            return
        writing = 0 if self._writing is None else self._writing.size
        if running == 0 or running + writing + self._reading_bytes(index) <= self._chain.memory:
            job, options = self._measured[index].job, self._options

            def work() -> images.Picture | images.Facts:
                return facts_of(job, options) or read(self._chain, job, options)

            self._reading[index] = self._reader.submit(attempt, job, work)

    def _make_room(self, wanted: int, finished: Callable[[Result], None]) -> None:
        """Wait for the image that is written if so many bytes do not fit beside it."""
        if self._writing is not None and self._writing.size + wanted > self._chain.memory:
            self.settle(finished)

    def _write(self, job: Job, upscaled: Upscaled, seconds: float) -> None:
        assert upscaled.picture is not None
        size = round(upscaled.picture.pixels.nbytes * (1 + format_for_writing(str(job.target)).encoder_copies))
        blocks = self._chain.config.n_resblocks
        context = contextvars.copy_context()  # folders are synced at the end of the run

        def work() -> Outcome[tuple[str, ...]]:
            return attempt(job, lambda: context.run(write, job, upscaled, blocks, self._options))

        self._writing = _Writing(job, upscaled, seconds, size, self._writer.submit(work))


def _give_way() -> None:
    """Let the network's threads go first: they wait for each other, so a disturbed one holds up all."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
