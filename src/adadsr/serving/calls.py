"""A request that a client may leave or that may take too long: its work ends then."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from adadsr.serving.problems import LEFT, TIMED_OUT, Problem

T = TypeVar("T")
LOOK_SECONDS = 0.05
"""Between looks at whether the client is still there."""
RETRY_SECONDS = 30.0
"""After a request that took too long."""


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
    detail = f"the request took longer than {seconds:g} s; ask for less, or try later"
    raise Problem(TIMED_OUT, detail, retry_after=RETRY_SECONDS)


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_SECONDS)
