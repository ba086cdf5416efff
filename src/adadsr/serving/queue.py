"""One queue for the process: whose turn it is, and at which budget, by bytes, cores and seconds.

Requests run in the order in which they came. Small ones take a core each and run beside each other; a large one takes
all. If the last in the queue would wait longer than the target, all budgets fall together: blocks that gain less than
one common least gain do not run, in no picture, down to the floor of each request.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from adadsr.serving.problems import OVERLOADED, SHUTTING_DOWN, Problem

GAINS = (1e-10, 1e3)
"""Least gains between which budgets fall, in squared levels."""
GAIN_STEPS = 20
"""Bisection steps for the common least gain."""
MOST_WAITING = 512
OVERDUE = 0.25
"""Share of its expected time that a run is taken to need until it ends."""


@dataclass(eq=False)
class Ticket:
    """What a request takes.

    Attributes:
        bytes: Working memory, at most that of the queue.
        threads: Cores.
        core_seconds: Time on one core, by budget.
        demand: Expected budget that the picture takes at a least gain; does not grow with it.
        budget: Requested, as a share of the full network's cost.
        floor: Budget below which it must not be served; at most `budget`.
        is_cancelled: Whether its work ends at its next step.
        least_gain: In squared levels, set when its turn comes.
        started: Time at which it came.
    """

    bytes: int
    threads: int
    core_seconds: Callable[[float], float]
    budget: float = 1.0
    floor: float = 1.0
    demand: Callable[[float], float] = lambda least_gain: 1.0
    is_cancelled: Callable[[], bool] = lambda: False
    least_gain: float = field(default=0.0, init=False)
    started: float = field(default=0.0, init=False)

    def served(self, least_gain: float) -> float:
        """Expected budget at a common least gain."""
        return self.budget if least_gain == 0 else max(self.floor, min(self.budget, self.demand(least_gain)))


class Queue:
    """Used from the event loop only."""

    def __init__(self, cores: int, memory: int, target_wait: float) -> None:
        """memory: in bytes. target_wait: in seconds."""
        self.cores, self.memory, self.target_wait = cores, memory, target_wait
        self.waiting: deque[tuple[Ticket, asyncio.Future[None]]] = deque()
        self.running: list[Ticket] = []
        self.is_closed = False
        self._refused_at = -math.inf

    @property
    def bytes(self) -> int:
        """Taken by what runs."""
        return sum(ticket.bytes for ticket in self.running)

    def wait(self, least_gain: float = 0.0) -> float:
        """Seconds until a request that comes now would begin, if those before it are served at a common least gain."""
        return self._until((ticket for ticket, _ in self.waiting), least_gain)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[Ticket]:
        """Wait for the turn of a ticket, and hold its bytes and cores for the block.

        Raises Problem if the wait would pass the target even at the floors, or if the queue is closed.
        """
        self.check()
        entry = (ticket, asyncio.get_running_loop().create_future())
        self.waiting.append(entry)
        self._start()
        try:
            await entry[1]
            yield ticket
        finally:
            if entry in self.waiting:
                self.waiting.remove(entry)
            if ticket in self.running:
                self.running.remove(ticket)
            self._start()

    def close(self) -> None:
        """Refuse what waits and what comes; what runs may finish."""
        self.is_closed = True
        for _, future in self.waiting:
            if not future.done():
                future.set_exception(_closed())

    def check(self) -> None:
        """Raise Problem if a request that comes now is refused."""
        if self.is_closed:
            raise _closed()
        if not self.running and not self.waiting:
            return
        wait = self.wait(math.inf)
        if wait > self.target_wait or len(self.waiting) >= MOST_WAITING:
            self._refused_at = time.monotonic()
            raise Problem(
                OVERLOADED,
                f"the wait would be {wait:.1f} s, over the target of {self.target_wait:g} s, even at the smallest "
                "budgets; try again later",
                retry_after=max(1.0, wait - self.target_wait),
            )

    def _start(self) -> None:
        """Start those at the head of the queue that fit."""
        while self.waiting:
            ticket, future = self.waiting[0]
            if future.done():
                self.waiting.popleft()
                continue
            threads = sum(each.threads for each in self.running)
            fits = self.bytes + ticket.bytes <= self.memory and threads + ticket.threads <= self.cores
            if self.running and not fits:
                return
            ticket.least_gain = self._least_gain()
            self.waiting.popleft()
            ticket.started = time.monotonic()
            self.running.append(ticket)
            future.set_result(None)

    def _least_gain(self) -> float:
        """The smallest at which the last in the queue begins within the target.

        The largest if somebody was refused within that time: nobody is refused while others are served more than their
        floors.
        """
        if time.monotonic() - self._refused_at < self.target_wait:
            return GAINS[1]
        ahead = [ticket for ticket, _ in self.waiting][:-1]
        if self._until(ahead, 0.0) <= self.target_wait:
            return 0.0
        low, high = map(math.log, GAINS)
        for _ in range(GAIN_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._until(ahead, math.exp(middle)) <= self.target_wait else (middle, high)
        return math.exp(high)

    def _until(self, ahead: Iterable[Ticket], least_gain: float) -> float:
        """Seconds until everything that runs, and everything ahead at a least gain, is done."""
        now = time.monotonic()
        left = sum(_left(ticket, now) for ticket in self.running)
        return (left + sum(ticket.core_seconds(ticket.served(least_gain)) for ticket in ahead)) / self.cores


def _left(ticket: Ticket, now: float) -> float:
    """Core-seconds that a running ticket still takes; one that takes longer than expected is not done, either.

    Zero for a cancelled one.
    """
    if ticket.is_cancelled():
        return 0.0
    expected, took = ticket.core_seconds(ticket.served(ticket.least_gain)), (now - ticket.started) * ticket.threads
    return max(OVERDUE * expected, expected - took)


def _closed() -> Problem:
    return Problem(SHUTTING_DOWN, "the service is shutting down; try again later", retry_after=5.0)
