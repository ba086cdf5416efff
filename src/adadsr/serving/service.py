"""What the service does with requests, apart from HTTP: one engine, one queue, one memory limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar

from adadsr import images
from adadsr.formats import HEAD_BYTES, Format, InputFormat, recognise
from adadsr.images import Color, Picture
from adadsr.machine import default_threads
from adadsr.serving import work
from adadsr.serving.answers import PlanAnswer
from adadsr.serving.asked import Asked, AskedResult
from adadsr.serving.demand import Demand
from adadsr.serving.kept import Kept, Result, Store
from adadsr.serving.metrics import Metrics
from adadsr.serving.models import Models
from adadsr.serving.pace import Pace
from adadsr.serving.problems import INVALID, Problem
from adadsr.serving.queue import Queue, Ticket
from adadsr.serving.settings import Settings
from adadsr.serving.uploads import Upload
from adadsr.serving.work import Cancel, Encoded, Terms
from adadsr.upscaler import ChainPlan, Outlook, PreparedChain, Report, timing

T = TypeVar("T")
SMALL_MACS = 100e9
"""Runs up to this cost take one core each."""
RESULT_BYTES = 4
"""Of a pixel of a result's file, at most, as a rule."""
DECODED_BYTES = 4
"""Of a pixel of an input."""
DECODING_SECONDS = 1e-8
"""Of a byte of a decoded picture, as a rule."""
PNG_SECONDS = 3e-8
"""Of a byte of a picture that is written as PNG."""
LEAST_REQUEST = 0.05
"""Budget that a request for a depth of 0 counts as."""
TIDY_SECONDS = 60.0
SPARE_THREADS = 4
"""Threads beside those that run networks: for headers of files, and plans of prepared pictures."""


class Served(NamedTuple):
    """A result, and the budget that was asked for and the time it waited."""

    encoded: Encoded
    format: str
    name: str
    requested: float
    waited: float
    seconds: float


class Job(NamedTuple):
    """A request whose networks are known.

    key: names model, size and cores. kept: the picture, if it was uploaded before. upload: the file, if it was not;
    those that wait hold none of it in memory. name, given: of the file.
    """

    terms: Terms
    outlook: Outlook
    threads: int
    key: object
    kept: Kept | None
    upload: Upload | None
    name: str
    given: InputFormat | None


class Service:
    """Lives in one event loop; networks run in threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics, self.pace = settings, Metrics(), Pace()
        self.models = Models(settings)
        self.cores = settings.threads or default_threads()
        self.queue = Queue(self.cores, settings.working_memory, settings.target_wait)
        self.kept = Store(settings.prepared_memory, settings.kept_for)
        self._demands: dict[str, Demand] = {}
        self._threads = ThreadPoolExecutor(self.cores + SPARE_THREADS, thread_name_prefix="adadsr")

    async def start(self) -> None:
        """Load the default model."""
        await self.in_thread(self.models.warm_up, Cancel())

    async def tidy(self) -> None:
        """Forget old pictures, also while nobody calls. Does not end."""
        while True:
            await asyncio.sleep(min(TIDY_SECONDS, self.settings.kept_for))
            self.kept.forget_old()

    def close(self) -> None:
        """End all threads when they are done."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def upscale(self, asked: AskedResult, upload: Upload | None, cancel: Cancel) -> Served:
        """The result of a request. Raises Problem and AdaDSRError."""
        asked.target(), asked.color()  # before anything is read
        floor = asked.floor(self.settings.least_budget)
        self.queue.check()
        job = await self._job(asked, upload, cancel)
        output = asked.result_format(job.given)
        images.check_fits(f"x{output.suffixes[0]}", job.outlook.height, job.outlook.width, quality=asked.quality)
        requested = _requested(job)
        floor = min(floor, requested) if job.outlook.is_adaptive else requested
        ticket = self._ticket(job, requested, floor, cancel)
        began = time.perf_counter()
        async with self._turn(ticket, job.kept):
            waited = time.perf_counter() - began
            terms = replace(job.terms, least_gain=ticket.least_gain, floor=ticket.floor)
            encoded = await self.in_thread(lambda: self._upscaled(job, terms, asked, output, cancel), cancel)
            seconds = time.perf_counter() - began - waited
        self._count(ticket, encoded.upscaled.report, seconds)
        kept = job.kept
        if kept is not None:
            self.kept.keep_result(kept, await self.in_thread(lambda: Result(encoded), cancel))
        return Served(encoded, output.suffixes[0][1:], job.name, requested, waited, seconds)

    @asynccontextmanager
    async def _turn(self, ticket: Ticket, kept: Kept | None) -> AsyncIterator[None]:
        """A turn in the queue, which a kept picture shows."""
        start = time.perf_counter()
        if kept is not None:
            kept.state, kept.progress = "waiting", 0.0
        try:
            async with self.queue.turn(ticket):
                self.metrics.stages.labels("wait").observe(time.perf_counter() - start)
                if kept is not None:
                    kept.state = "running"
                yield
        finally:
            if kept is not None:
                kept.state = "idle"

    def _upscaled(self, job: Job, terms: Terms, asked: AskedResult, output: Format, cancel: Cancel) -> Encoded:
        """In a thread: everything from the upload to the file of the result."""
        color, kept, prepared = asked.color(), job.kept, None
        if kept is None:
            picture = self._read(job.upload, color)
        elif color is None:
            picture, prepared = kept.picture, kept.prepared.get(job.key)
        else:
            picture = images.flatten(kept.picture, color)
        size = job.outlook.height, job.outlook.width
        images.check_fits(f"x{output.suffixes[0]}", *size, transparent=picture.is_transparent)
        prepared = prepared or work.prepare(terms.chain, picture, self.metrics, cancel)
        upscaled = work.run(prepared, terms, self.metrics, cancel)
        return work.encode(upscaled, output, asked.quality, self.metrics, cancel)

    def _count(self, ticket: Ticket, report: Report, seconds: float) -> None:
        self.pace.learn(report.executed_gmacs * 1e9, seconds * ticket.threads)
        self.metrics.requested.observe(ticket.budget)
        self.metrics.served.observe(report.achieved_budget)
        if ticket.least_gain > 0:
            self.metrics.lowered.inc()

    async def plan(self, asked: Asked, upload: Upload | None, cancel: Cancel, *, depth_map: bool = False) -> PlanAnswer:
        """What a run would do. Raises Problem and AdaDSRError."""
        plan, job = await self.planned(asked, upload, cancel)
        return self.described(plan, job, depth_map=depth_map)

    def described(self, plan: ChainPlan, job: Job, *, depth_map: bool) -> PlanAnswer:
        """A plan as JSON."""
        seconds = self.pace.core_seconds(plan.macs) / job.threads
        return PlanAnswer.of(plan, job.outlook.steps[0], seconds, depth_map=depth_map)

    async def planned(self, asked: Asked, upload: Upload | None, cancel: Cancel) -> tuple[ChainPlan, Job]:
        """The plan of a request. Raises Problem and AdaDSRError."""
        asked.target()
        job = await self._job(asked, upload, cancel)
        kept = job.kept
        known = None if kept is None else kept.prepared.get(job.key)
        if known is not None:
            return await self.in_thread(lambda: work.plan(known, job.terms, self.metrics), cancel), job
        async with self.queue.turn(self._ticket(job, 0.0, 0.0, cancel)):
            prepared, plan = await self.in_thread(lambda: self._prepared(job, cancel), cancel)
        if kept is not None:
            kept.keep(job.key, prepared)
        return plan, job

    def _prepared(self, job: Job, cancel: Cancel) -> tuple[PreparedChain, ChainPlan]:
        """In a thread: an image of which nothing is prepared yet."""
        picture = job.kept.picture if job.kept is not None else self._read(job.upload, None)
        prepared = work.prepare(job.terms.chain, picture, self.metrics, cancel)
        if job.kept is not None:
            prepared.score()  # the next plans follow at once
        return prepared, work.plan(prepared, job.terms, self.metrics)

    async def keep(self, upload: Upload, cancel: Cancel) -> Kept:
        """Decode a picture and keep it. Raises Problem and AdaDSRError."""
        height, width = await self.in_thread(lambda: self._size(upload.content()), cancel)
        self.kept.check(height, width)
        pixels = height * width * DECODED_BYTES
        ticket = Ticket(min(pixels + upload.size, self.queue.memory), 1, lambda budget: pixels * DECODING_SECONDS)
        async with self.queue.turn(ticket):
            picture = await self.in_thread(lambda: self._read(upload, None), cancel)
        given = recognise(upload.head(HEAD_BYTES))
        assert isinstance(given, InputFormat)
        kept = Kept(upload.name, given, picture)
        self.kept.add(kept)
        return kept

    async def as_png(self, read: Callable[[], Picture], size: int, cancel: Cancel) -> bytes:
        """A picture for browsers that cannot show its format. size: of its file and pixels, in bytes.

        Raises Problem and AdaDSRError.
        """
        ticket = Ticket(min(2 * size, self.queue.memory), 1, lambda budget: size * PNG_SECONDS)
        async with self.queue.turn(ticket):
            return await self.in_thread(lambda: images.encode(read(), ".png"), cancel)

    async def in_thread(self, function: Callable[[], T], cancel: Cancel) -> T:
        """Run a function in a thread. If the task is cancelled, so is the work, and the thread is waited for."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancel.set()
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # it was cancelled; nobody else asks
            raise

    def observe(self) -> None:
        """Bring the gauges up to date."""
        metrics, queue = self.metrics, self.queue
        metrics.waiting.set(len(queue.waiting))
        metrics.running.set(len(queue.running))
        metrics.wait.set(queue.wait())
        metrics.memory.set(self.models.memory.used)
        metrics.prepared.set(len(self.kept))
        metrics.prepared_bytes.set(self.kept.bytes)

    async def _job(self, asked: Asked, upload: Upload | None, cancel: Cancel) -> Job:
        """What a request takes, from the size of its image: nothing is decoded."""
        if (asked.image is None) == (upload is None):
            given = "neither is given" if upload is None else "both are given"
            raise Problem(INVALID, f"an image comes as the body or by image=ID of /v1/images; {given}")
        kept = None if asked.image is None else self.kept.get(asked.image)
        return await self.in_thread(lambda: self._found(asked, upload, kept), cancel)

    def _found(self, asked: Asked, upload: Upload | None, kept: Kept | None) -> Job:
        """In a thread: the networks for a request, on one core if that is enough."""
        content = b"" if upload is None else upload.content()
        if kept is None:
            height, width = self._size(content)
            name, given = "" if upload is None else upload.name, recognise(content[:HEAD_BYTES])
        else:
            height, width, name, given = kept.picture.height, kept.picture.width, kept.name, kept.given
        # A time is met by all cores, for which the machine was measured.
        for threads in (self.cores,) if asked.seconds is not None else dict.fromkeys((1, self.cores)):
            chain = self.models.chain(asked.model, asked.size(), None if threads == self.cores else threads)
            outlook = chain.outlook(height, width, *_depth(None if kept is None else kept.picture))
            if outlook.macs(1.0) <= SMALL_MACS:
                break
        demand = self._demands.setdefault(outlook.steps[0].name, Demand())
        terms, key = Terms(chain, asked.target(), demand), (asked.model, asked.size(), threads)
        return Job(terms, outlook, threads, key, kept, upload, name, given)

    def _read(self, upload: Upload | None, background: Color | None) -> Picture:
        assert upload is not None
        return work.read(upload.content(), self.settings.max_pixels, background, self.metrics)

    def _size(self, content: bytes) -> tuple[int, int]:
        return images.read_size(content, max_pixels=self.settings.max_pixels)

    def _ticket(self, job: Job, budget: float, floor: float, cancel: Cancel) -> Ticket:
        result = job.outlook.height * job.outlook.width * RESULT_BYTES
        upload = 0 if job.upload is None else job.upload.size
        wanted = min(job.outlook.bytes + result + upload, self.queue.memory)
        step, demand = job.outlook.steps[0], job.terms.demand
        return Ticket(
            wanted,
            job.threads,
            lambda share: self.pace.core_seconds(job.outlook.macs(share)),
            budget,
            floor,
            lambda least_gain: demand.budget(step, least_gain),
            is_cancelled=cancel.is_set,
        )


def _depth(picture: Picture | None) -> tuple[int, int]:
    """Channels and bits; of a file that is not decoded yet, those that nearly all have."""
    return (4, 8) if picture is None else (picture.pixels.shape[2], picture.bits)


def _requested(job: Job) -> float:
    """Budget that a request asks for, as nearly as it shows without the image. Raises as `timing.budget_for`."""
    target = timing.with_budget(job.terms.target, job.outlook)
    if target.budget is not None:
        return target.budget
    blocks = job.terms.chain.engine.network.n_blocks
    return 1.0 if target.depth is None else min(1.0, max(LEAST_REQUEST, target.depth / blocks))
