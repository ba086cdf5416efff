"""What a run reports as it goes, and the two logs that keep it: JSON lines, and tensorboard."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from adadsr.errors import MissingDependencyError, TrainingError


@dataclass(frozen=True)
class Progress:
    """Some steps were made; step is the one that comes next.

    loss: mean L1 distance to the HR patches, 0..255. images_per_second: patches. data_share: of the step's time that
    went into getting its patches. seconds_left: of the whole run, validation and saving included.
    """

    stage: int
    step: int
    loss: float
    learning_rate: float
    seconds_per_step: float
    images_per_second: float
    data_share: float
    seconds_left: float


@dataclass(frozen=True)
class Validation:
    """psnr_y: "full", "75%", ... of the body's cost -> mean PSNR-Y in dB. seconds: what measuring took."""

    stage: int
    step: int
    psnr_y: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Rollback:
    """The loss was not finite (None) or jumped from the usual one; the run went back from seen_at at half the rate."""

    stage: int
    step: int
    seen_at: int
    loss: float | None
    usual: float | None
    rollbacks: int


Entry = Progress | Validation | Rollback


def as_line(entry: Entry) -> str:
    """An entry as a JSON object; `kind` is progress, validation or rollback."""
    return json.dumps({"kind": type(entry).__name__.lower(), **asdict(entry)})


class JsonLog:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, entry: Entry) -> None:
        """Append an entry. Raises TrainingError where that is not possible."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(as_line(entry) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error.strerror}); make room, start again") from error

    def size(self) -> int:
        """Bytes so far, to be kept with a state."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Drop what was logged after a state: the run will log it again."""
        if self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)


class Board:
    """Curves for tensorboard, over the steps of the whole run. Needs the extra `train`."""

    def __init__(self, folder: Path, steps_before: list[int]) -> None:
        """steps_before: of each stage, the steps of those before it."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "tensorboard is not installed; pip install adadsr[train], or leave --tensorboard out"
            ) from error
        self.writer = SummaryWriter(str(folder))
        self.steps_before = steps_before

    def __call__(self, entry: Entry) -> None:
        """Add an entry's figures to the curves."""
        values = entry.psnr_y if isinstance(entry, Validation) else asdict(entry)
        group = type(entry).__name__.lower()
        for name, value in values.items():
            if name not in ("stage", "step") and value is not None:
                self.writer.add_scalar(f"{group}/{name}", value, self.steps_before[entry.stage] + entry.step)
        self.writer.flush()
