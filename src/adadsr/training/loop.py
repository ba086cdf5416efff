"""From a recipe to a finished checkpoint: stage after stage, from where an earlier process was interrupted."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from adadsr import checkpoints
from adadsr.datasets import Pair
from adadsr.errors import CheckpointError, TrainingError
from adadsr.training.log import Entry, JsonLog, Progress, Rollback, Validation
from adadsr.training.recipe import Stage
from adadsr.training.state import State, has_state, read_state, write_state
from adadsr.training.trainer import Trainer
from adadsr.training.validation import SHARES, in_words, validate

SPIKE = 5.0
"""A mean loss that many times the usual one is a spike."""
MEMORY = 0.9
"""How much of the usual loss is kept when a new one is looked at."""
MOST_ROLLBACKS = 5


@dataclass(frozen=True)
class Pace:
    """every: steps between validations. look: steps between looks at the loss, each of which waits for the device.

    minutes: between saved states, at the next look; a state is saved before each validation too.
    """

    every: int = 1000
    look: int = 20
    minutes: float = 5.0


class Run:
    """A trainer on its way through the stages, with its folder.

    In `out`: state/ to go on from, log.jsonl, and at the end model.safetensors.
    """

    def __init__(
        self, trainer: Trainer, valid: list[Pair], out: Path, pace: Pace, watch: Sequence[Callable[[Entry], None]] = ()
    ) -> None:
        """watch: is told every entry, in the one process that writes."""
        self.trainer, self.valid, self.out, self.pace = trainer, valid, out, pace
        self.log = JsonLog(out / "log.jsonl")
        self.watch: list[Callable[[Entry], None]] = [self.log, *watch] if trainer.world.writes else []
        self.usual: float | None = None
        self.reached: dict[str, float] = {}
        self.began = self.since = self.saved_at = time.monotonic()
        self.seconds, self.trained = 0.0, 0

    def go(self) -> Path | None:
        """Train to the end; returns the finished checkpoint, None in processes that do not write."""
        trainer, stages = self.trainer, self.trainer.recipe.stages
        found = has_state(self.out / "state")
        trainer.world.wait()
        if found:
            self._restore()
            if trainer.world.writes:
                self.log.cut(self.log_size)
        while trainer.stage < len(stages):
            trainer.begin()
            if trainer.step == 0:
                self.usual = None
                self._save()
            while trainer.step < stages[trainer.stage].steps:
                self._advance(stages[trainer.stage])
            trainer.stage, trainer.step = trainer.stage + 1, 0
        return self._finish() if trainer.world.writes else None

    def _advance(self, stage: Stage) -> None:
        """Some steps, up to the next look at the loss, and what is due after them."""
        trainer, pace = self.trainer, self.pace
        count = min(pace.look, stage.steps - trainer.step, pace.every - trainer.step % pace.every)
        rate, steps = trainer.rate, [trainer.advance() for _ in range(count)]
        losses = torch.stack([step.loss for step in steps])
        norms = torch.stack([step.norm for step in steps])
        loss = float(trainer.world.mean(losses.mean()))
        spent = trainer.clock.take()
        if not self._is_sound(loss, float(norms.sum())):
            self._roll_back(loss)
            return
        self.usual = loss if self.usual is None else MEMORY * self.usual + (1 - MEMORY) * loss
        self._report_progress(stage, count, loss, rate, spent)
        due = trainer.step % pace.every == 0 or trainer.step == stage.steps
        if due or time.monotonic() - self.saved_at > 60 * pace.minutes:
            self._save()
        if due:
            self._validate(stage)
            self._save()  # again, so that a resumed run keeps the line that this wrote into the log

    def _is_sound(self, loss: float, norm: float) -> bool:
        usual = math.inf if self.usual is None else self.usual
        return math.isfinite(loss) and math.isfinite(norm) and loss <= SPIKE * usual

    def _report_progress(self, stage: Stage, count: int, loss: float, rate: float, spent: dict[str, float]) -> None:
        trainer, total, now = self.trainer, sum(spent.values()), time.monotonic()
        self.seconds += now - self.since
        self.since, self.trained = now, self.trained + count * _work(stage)
        self._tell(
            Progress(
                trainer.stage,
                trainer.step,
                loss=loss,
                learning_rate=rate,
                seconds_per_step=round(total / count, 5),
                images_per_second=round(stage.batch * count / total, 2),
                data_share=round(spent["data"] / total, 5),
                seconds_left=round(self._work_left() * (now - self.began) / self.trained, 1),
            )
        )

    def _work_left(self) -> float:
        """Pixels that the rest of the run will see."""
        trainer = self.trainer
        later = sum(stage.steps * _work(stage) for stage in trainer.recipe.stages[trainer.stage :])
        return later - trainer.step * _work(trainer.recipe.stages[trainer.stage])

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.trainer.world.writes:
            state = self.trainer.state()
            run = {"usual": self.usual, "log_size": self.log.size(), "seconds": self.seconds}
            write_state(self.out / "state", State(state.parts, state.about | run))

    def _restore(self) -> None:
        state = read_state(self.out / "state")
        try:
            self.trainer.restore(state)
            self.usual, self.log_size, self.seconds = (state.about[name] for name in ("usual", "log_size", "seconds"))
        except KeyError as error:
            raise CheckpointError(
                f"{self.out / 'state'}: lacks {error}; restore it, or choose another --out"
            ) from error
        self.saved_at = time.monotonic()
        self.trainer.world.wait()  # before the one that writes replaces what others are reading

    def _roll_back(self, loss: float) -> None:
        """Go back to the last state that was saved, at half the rate. Raises TrainingError after too many times."""
        trainer, rollbacks = self.trainer, self.trainer.rollbacks + 1
        if rollbacks > MOST_ROLLBACKS:
            raise TrainingError(
                f"step {trainer.step} of stage {trainer.stage}: loss {loss:g} after {MOST_ROLLBACKS} returns to an "
                "earlier state at ever smaller rates; lower learning_rate or clip_norm in the recipe"
            )
        seen_at, usual = trainer.step, self.usual
        self._restore()
        trainer.slow_down(rollbacks)
        self._tell(
            Rollback(trainer.stage, trainer.step, seen_at, loss if math.isfinite(loss) else None, usual, rollbacks)
        )
        self._save()

    def _validate(self, stage: Stage) -> None:
        if not self.trainer.world.writes:
            return
        start, trainer = time.monotonic(), self.trainer
        self.reached = in_words(validate(trainer.averaged, self.valid, SHARES if stage.adaptive else (1.0,)))
        self._tell(Validation(trainer.stage, trainer.step, self.reached, round(time.monotonic() - start, 2)))

    def _finish(self) -> Path:
        """Save the finished network, with what it was made from and what it reaches in the header."""
        trainer, path = self.trainer, self.out / "model.safetensors"
        self._save()
        metadata = {
            "recipe": json.dumps(asdict(trainer.recipe)),
            "PSNR-Y on validation": json.dumps(self.reached or in_words(validate(trainer.averaged, self.valid))),
            "hours of training": f"{self.seconds / 3600:.2f}",
        }
        checkpoints.save(trainer.averaged, path, metadata=metadata)
        return path

    def _tell(self, entry: Entry) -> None:
        for watch in self.watch:
            watch(entry)


def _work(stage: Stage) -> int:
    """LR pixels of a step."""
    return stage.batch * stage.patch**2
