"""What is measured rather than guessed: the fastest way to cut a conv, and from which active share on cuDNN is faster.

Measured where a conv of a kind is first run, and kept in the tuner; `forget` makes it measure again. No kernel is known
here, so that a test can time stand-ins.
"""

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from adadsr.errors import BackendError
from adadsr.sparse.graph import record

Timer = Callable[[Callable[[], None]], float]
"""Runs a function, some times over, and gives what it takes, in seconds."""
Way = TypeVar("Way", bound=Hashable)
SHARES = (0.25, 1.0)
"""Active shares that the sparse conv is timed at; between them its time is a straight line."""
TUNED_SHARE = 0.5
"""Active share at which the ways to cut a conv compete."""


@dataclass(frozen=True)
class Choice(Generic[Way]):
    """way: how the sparse conv is run. break_even: the active share from which on the dense conv is faster."""

    way: Way
    break_even: float = math.inf


@dataclass(frozen=True)
class Trial(Generic[Way]):
    """A conv to be measured. sparse: a way and an active share -> what runs it. dense: runs the dense conv."""

    ways: Sequence[Way]
    sparse: Callable[[Way, float], Callable[[], None]]
    dense: Callable[[], None]


class Tuner(Generic[Way]):
    """Choices by what they are for. Threads may share it."""

    def __init__(self, timer: Timer | None, impossible: tuple[type[Exception], ...] = ()) -> None:
        """timer: None for the first way and never the dense conv: the time of interpreted kernels says nothing.

        impossible: what a way raises that the device has not the resources for.
        """
        self._timer, self._impossible = timer, impossible
        self._choices: dict[Hashable, Choice[Way]] = {}
        self._lock = threading.Lock()

    def choice(self, kind: Hashable, trial: Callable[[], Trial[Way]]) -> Choice[Way]:
        """The choice for convs of a kind. trial: called where there is none yet."""
        with self._lock:
            if kind not in self._choices:
                self._choices[kind] = self._measure(trial())
            return self._choices[kind]

    def forget(self) -> None:
        """Measure again from now on."""
        with self._lock:
            self._choices.clear()

    def _measure(self, trial: Trial[Way]) -> Choice[Way]:
        if self._timer is None:
            return Choice(trial.ways[0])
        timer, times = self._timer, dict[Way, float]()
        for way in trial.ways:
            with suppress(*self._impossible):
                times[way] = timer(trial.sparse(way, TUNED_SHARE))
        if not times:
            raise BackendError("the device has not the resources for any of the kernels; choose another backend")
        way = min(times, key=lambda each: times[each])
        few, all_ = (timer(trial.sparse(way, share)) for share in SHARES)
        return Choice(way, break_even(few, all_, timer(trial.dense)))


def break_even(few: float, all_: float, dense: float) -> float:
    """The active share from which on the dense conv is faster; infinite where it never is.

    few, all_: seconds of the sparse conv at SHARES. dense: seconds of the dense conv.
    """
    if dense >= all_:
        return math.inf
    if dense <= few:
        return SHARES[0] * dense / few
    return SHARES[0] + (SHARES[1] - SHARES[0]) * (dense - few) / (all_ - few)


def time_on_device(run: Callable[[], None], rounds: int = 5, runs: int = 10) -> float:
    """Seconds of a run on the current CUDA device: the median over rounds of the mean of some runs.

    The runs are one graph, so that what it takes to launch them does not count.
    """

    def some() -> None:
        for _ in range(runs):
            run()

    graph, times = record(some), list[float]()
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000 / runs)
    return sorted(times)[rounds // 2]
