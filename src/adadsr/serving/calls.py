"""A request that a client may leave or that may take too long: its work ends then."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from adadsr.errors import AdaDSRError
from adadsr.serving.problems import LEFT, TIMED_OUT, Problem
from adadsr.serving.service import Service
from adadsr.serving.uploads import Upload, receive
from adadsr.serving.work import Cancel

T = TypeVar("T")


async def answered(
    service: Service,
    request: Request,
    work: Callable[[Upload | None, Cancel], Coroutine[Any, Any, T]],
    cancel: Cancel,
) -> T:
    """Receive the upload, and work until the client leaves or the time is up. Raises Problem."""
    if "expect" in request.headers:  # clients without Expect send the body anyway and would not read the refusal
        service.queue.check()
    start = time.perf_counter()
    async with receive(request) as upload:
        service.metrics.stages.labels("receive").observe(time.perf_counter() - start)
        try:
            return await while_wanted(request, service.settings.time_limit, work(upload, cancel))
        except AdaDSRError as error:
            raise Problem.of(error, name="" if upload is None else upload.name) from error


async def while_wanted(request: Request, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client leaves or the time is up. Raises Problem."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        done, _ = await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
    finally:
        for each in (left, task):
            each.cancel()
        await asyncio.gather(left, task, return_exceptions=True)
    if left in done:
        raise Problem(LEFT, "the client left before its result was ready")
    raise Problem(TIMED_OUT, f"the request took longer than {seconds:g} s; ask for a smaller budget or size")


async def _left(request: Request) -> None:
    """Returns when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
