"""What a run reports: entries, the two logs that keep them (JSON lines, tensorboard), and the time of its parts."""

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch

from adadsr.errors import MissingDependencyError, TrainingError, cause_of


@dataclass(frozen=True)
class Progress:
    """Some steps were made; `step` is the next one.

    loss: mean L1 distance to the HR patches, in 0..255. images_per_second: patches. data_share: fraction of a step's
    time spent on getting its patches. seconds_left: of the whole run, validation and saving included. convs: what ran
    the 3x3 convs: torch, or native and its instruction set.
    """

    stage: int
    step: int
    loss: float
    learning_rate: float
    seconds_per_step: float
    images_per_second: float
    data_share: float
    seconds_left: float
    convs: str = "torch"


@dataclass(frozen=True)
class Validation:
    """psnr_y: "full", "75%", ... of the body's cost -> mean PSNR-Y in dB; "1/2: full" is at half the photos' size.

    seconds: time of the measurement.
    """

    stage: int
    step: int
    psnr_y: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Rollback:
    """The run went back from step `seen_at` to `step` at half the rate.

    loss: None if it was not finite, otherwise a spike. usual: running mean before it.
    """

    stage: int
    step: int
    seen_at: int
    loss: float | None
    usual: float | None
    rollbacks: int


@dataclass(frozen=True)
class Targets:
    """A teacher computes the targets of a stage; share: of them that is done."""

    stage: int
    step: int
    share: float


Entry: TypeAlias = Progress | Validation | Rollback | Targets
Observer: TypeAlias = Callable[[Entry], None]
"""Is called with every entry as it happens."""


def as_line(entry: Entry) -> str:
    """An entry as a JSON object; `kind` is progress, validation, rollback or targets."""
    return json.dumps({"kind": type(entry).__name__.lower(), **asdict(entry)})


class JsonLog:
    """A file with a JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, entry: Entry) -> None:
        """Append an entry. Raises TrainingError if that fails."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(as_line(entry) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path}: cannot write ({cause_of(error)}); free some space and repeat the command"
            ) from error

    def size(self) -> int:
        """Bytes so far, which a state stores."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Drop what was logged after a state: the run will log it again."""
        if self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)


class Board:
    """Curves for tensorboard, over the steps of the whole run. Needs the extra `train`."""

    def __init__(self, folder: Path, steps_before: list[int]) -> None:
        """steps_before: for each stage, the steps of those before it."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "tensorboard is not installed; run pip install 'adadsr[train]' or drop --tensorboard"
            ) from error
        # Created at the first entry, whose step tells from where a resumed run logs again.
        self.make = partial(SummaryWriter, str(folder))
        self.writer: Any = None
        self.steps_before = steps_before

    def __call__(self, entry: Entry) -> None:
        """Add an entry's figures to the curves."""
        if isinstance(entry, Targets):
            return
        step = self.steps_before[entry.stage] + entry.step
        if self.writer is None:  # other entries follow the progress of their step
            self.writer = self.make(purge_step=step if isinstance(entry, Progress) else step + 1)
        values = entry.psnr_y if isinstance(entry, Validation) else asdict(entry)
        group = type(entry).__name__.lower()
        for name, value in values.items():
            if name not in ("stage", "step", "convs") and value is not None:
                self.writer.add_scalar(f"{group}/{name}", value, step)
        self.writer.flush()


class Clock:
    """Wall time of training, by part. On a CUDA device it is the device's time, including its waits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        if self.device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((part, start, end))
        else:
            began = time.perf_counter()
            yield
            self._seconds[part] += time.perf_counter() - began

    def collect(self) -> dict[str, float]:
        """Part -> seconds since the last call; waits for the device."""
        if self._events:
            torch.cuda.synchronize(self.device)
        for part, start, end in self._events:
            self._seconds[part] += start.elapsed_time(end) / 1000
        collected = dict(self._seconds)
        self._seconds.clear()
        self._events.clear()
        return collected
