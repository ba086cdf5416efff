"""Measure the fastest config of a conv, and the active share above which cuDNN is faster.

Each kind of conv is measured at its first run, and the autotuner stores the result until `forget`. This module knows no
kernels, so that tests can time stand-ins.
"""

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from adadsr.errors import BackendError

Timer = Callable[[Callable[[], None]], float]
"""Runs a function several times and returns the seconds of one run."""
Config = TypeVar("Config", bound=Hashable)
SHARES = (0.25, 1.0)
"""Active shares at which the sparse conv is timed; between them its time is taken to be linear."""
CONTEST_SHARE = 0.5
"""Active share at which the configs compete."""
WARM_UP = 3
"""Runs before a graph is recorded: kernels are compiled and tuned, libraries allocate their workspaces."""


@dataclass(frozen=True)
class TunedConfig(Generic[Config]):
    """config: how the sparse conv runs. break_even: active share from which the dense conv is faster; inf if never."""

    config: Config
    break_even: float = math.inf


@dataclass(frozen=True)
class Benchmark(Generic[Config]):
    """A conv to time. sparse: config and active share -> a function that runs it. dense: runs the dense conv."""

    configs: Sequence[Config]
    sparse: Callable[[Config, float], Callable[[], None]]
    dense: Callable[[], None]


class Autotuner(Generic[Config]):
    """Tuned configs by kind of conv. Threads may share it."""

    def __init__(self, timer: Timer | None, out_of_resources: tuple[type[Exception], ...] = ()) -> None:
        """timer: None for always the first config and never the dense conv, since interpreted kernels cannot be timed.

        out_of_resources: exceptions raised by a config that does not fit the device.
        """
        self._timer, self._out_of_resources = timer, out_of_resources
        self._tuned: dict[Hashable, TunedConfig[Config]] = {}
        self._lock = threading.Lock()

    def tuned_config(self, kind: Hashable, benchmark: Callable[[], Benchmark[Config]]) -> TunedConfig[Config]:
        """The tuned config for a kind of conv. benchmark: called if there is none yet.

        Raises BackendError if no config fits the device.
        """
        with self._lock:
            if kind not in self._tuned:
                self._tuned[kind] = self._measure(benchmark())
            return self._tuned[kind]

    def forget(self) -> None:
        """Measure again from now on."""
        with self._lock:
            self._tuned.clear()

    def _measure(self, benchmark: Benchmark[Config]) -> TunedConfig[Config]:
        if self._timer is None:
            return TunedConfig(benchmark.configs[0])
        timer, times = self._timer, dict[Config, float]()
        for config in benchmark.configs:
            with suppress(*self._out_of_resources):
                times[config] = timer(benchmark.sparse(config, CONTEST_SHARE))
        if not times:
            raise BackendError("no kernel fits this device's resources; choose another backend")
        fastest = min(times, key=lambda config: times[config])
        few, all_ = (timer(benchmark.sparse(fastest, share)) for share in SHARES)
        return TunedConfig(fastest, break_even(few, all_, timer(benchmark.dense)))


def break_even(few: float, all_: float, dense: float) -> float:
    """Active share from which the dense conv is faster; inf if never.

    few, all_: seconds of the sparse conv at SHARES. dense: seconds of the dense conv.
    """
    if dense >= all_:
        return math.inf
    if dense <= few:
        return SHARES[0] * dense / few
    return SHARES[0] + (SHARES[1] - SHARES[0]) * (dense - few) / (all_ - few)


def record(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A CUDA graph of the launches of `run` on the current device, recorded after WARM_UP runs.

    Nothing in it may wait for the device; torch raises RuntimeError if something does.
    """
    side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads keep using the device
        run()
    return graph


def time_on_device(run: Callable[[], None], rounds: int = 5, runs: int = 10) -> float:
    """Seconds per run on the current CUDA device: the median over rounds of the mean of `runs` runs.

    The runs are one graph, so that launching them does not count.
    """

    def run_all() -> None:
        for _ in range(runs):
            run()

    graph, times = record(run_all), list[float]()
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000 / runs)
    return sorted(times)[rounds // 2]
