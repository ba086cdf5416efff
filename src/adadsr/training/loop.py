"""From a recipe to a finished checkpoint: stage after stage, resuming what an earlier process began."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adadsr import checkpoints
from adadsr.datasets import Pair
from adadsr.errors import CheckpointError, InputError, TrainingError
from adadsr.training.checks import check_stages
from adadsr.training.divergence import is_spike, next_usual
from adadsr.training.log import Entry, JsonLog, Observer, Progress, Rollback, Targets, Validation
from adadsr.training.recipe import Stage
from adadsr.training.state import State, has_state, read_state, write_state
from adadsr.training.trainer import Trainer
from adadsr.training.validation import SHARES, as_jpeg, in_words, validate

MOST_ROLLBACKS = 5
QUIET = 10.0
"""Seconds between reports of a teacher's targets, at least."""


@dataclass(frozen=True)
class Pace:
    """How often a run does what.

    every: steps between validations. look: steps between progress reports, each of which waits for the device.
    minutes: between saved states, at the next report; a state is saved before each validation too.
    """

    every: int = 1000
    look: int = 20
    minutes: float = 5.0


class Run:
    """A trainer on its way through the stages, and its folder.

    The folder gets state/, which a later process resumes from, log.jsonl, and at the end model.safetensors. No other
    run may write to it (`session.owned`).
    """

    def __init__(
        self,
        trainer: Trainer,
        valid: list[Pair],
        out: Path,
        pace: Pace,
        observers: Sequence[Observer] = (),
        metadata: Mapping[str, str] | None = None,
        about: Mapping[str, str] | None = None,
        remedy: str = "lower learning_rate or clip_norm in the recipe",
    ) -> None:
        """observers: only those of the process that writes are called.

        metadata: added to the result's header. about: added to each state's manifest. remedy: advice where the loss
        diverges.
        """
        self.trainer, self.valid, self.out, self.pace = trainer, valid, out, pace
        self.metadata, self.remedy = metadata or {}, remedy
        self.about = {"start_digest": trainer.start_digest, **(about or {})}
        self.log = JsonLog(out / "log.jsonl")
        self.observers: list[Observer] = [self.log, *observers] if trainer.world.writes else []
        self.usual: float | None = None
        self.log_size = 0
        self.reached: dict[str, float] = {}
        self.validated = [0, 0]
        self.began = self.since = self.saved_at = self.told_at = time.monotonic()
        self.seconds, self.trained = 0.0, 0

    def go(self) -> Path | None:
        """Train to the end. Returns the finished checkpoint, or None in processes that do not write."""
        trainer, stages = self.trainer, self.trainer.recipe.stages
        found = has_state(self.out / "state")
        trainer.world.wait()
        if found:
            self._restore()
        if trainer.world.writes:
            self.log.cut(self.log_size)
        check_stages(trainer.recipe, trainer.stage, trainer.images, trainer.world)
        while trainer.stage < len(stages):
            trainer.begin(self._report_targets)
            if trainer.step == 0:
                self.usual = None
                self._save()
            stage = stages[trainer.stage]
            if self._is_due(stage) and self.validated != [trainer.stage, trainer.step]:
                self._validate(stage)  # the previous run was interrupted in it
            while trainer.step < stage.steps:
                self._advance(stage)
            trainer.stage, trainer.step, trainer.rollbacks = trainer.stage + 1, 0, 0
        return self._finish() if trainer.world.writes else None

    def _advance(self, stage: Stage) -> None:
        """Some steps, up to the next progress report, and what is due after them."""
        trainer, pace = self.trainer, self.pace
        count = min(pace.look, stage.steps - trainer.step, pace.every - trainer.step % pace.every)
        rate, steps = trainer.rate, [trainer.advance() for _ in range(count)]
        losses = torch.stack([step.loss for step in steps])
        norms = torch.stack([step.norm for step in steps])
        loss = float(trainer.world.mean(losses.mean()))
        spent = trainer.clock.collect()
        patches, seen = count * stage.batch, trainer.step * stage.batch
        diverges = is_spike(loss, self.usual, patches, seen - patches)
        if diverges or not math.isfinite(loss + float(norms.sum())):
            self._roll_back(loss)
            return
        self.usual = next_usual(self.usual, loss, patches, seen)
        self._report_progress(stage, count, loss, rate, spent)
        due = self._is_due(stage)
        if due or time.monotonic() - self.saved_at > 60 * pace.minutes:
            self._save()
        if due:
            self._validate(stage)

    def _is_due(self, stage: Stage) -> bool:
        """Whether the run is at a step of a stage after which it validates."""
        step = self.trainer.step
        return step > 0 and (step % self.pace.every == 0 or step == stage.steps)

    def _report_targets(self, share: float) -> None:
        if time.monotonic() - self.told_at > QUIET:
            self.told_at = time.monotonic()
            self._tell(Targets(self.trainer.stage, self.trainer.step, round(share, 3)))

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
                convs=trainer.convs.label,
            )
        )

    def _work_left(self) -> float:
        """LR pixels that the rest of the run will see."""
        trainer = self.trainer
        later = sum(stage.steps * _work(stage) for stage in trainer.recipe.stages[trainer.stage :])
        return later - trainer.step * _work(trainer.recipe.stages[trainer.stage])

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.trainer.world.writes:
            state = self.trainer.state()
            run = {"usual": self.usual, "log_size": self.log.size(), "seconds": self.seconds}
            about = state.about | self.about | run | {"validated": self.validated}
            write_state(self.out / "state", State(state.parts, about))

    def _restore(self) -> None:
        state = read_state(self.out / "state")
        try:
            self._check_start(state.about)
            self.trainer.restore(state)
            self.usual, self.log_size, self.seconds = (state.about[name] for name in ("usual", "log_size", "seconds"))
        except KeyError as error:
            raise CheckpointError(
                f"{self.out / 'state'}: {error} is missing; restore it or choose another --out"
            ) from error
        # States of earlier versions lack it.
        self.validated = state.about.get("validated", [self.trainer.stage, self.trainer.step])
        self.saved_at = time.monotonic()
        self.trainer.world.wait()  # before the one that writes replaces what others are reading

    def _check_start(self, about: dict[str, Any]) -> None:
        """Let the network that the run began with lie elsewhere by now. Raises InputError if another is in its place.

        States of earlier versions lack its hash.
        """
        theirs, start_from = about.get("start_digest"), self.trainer.recipe.start_from
        if theirs == self.about["start_digest"]:
            about["recipe"]["start_from"] = start_from
        elif theirs is not None and about["recipe"]["start_from"] == start_from:
            raise InputError(
                f"start_from={start_from}: is not the network that the run in {self.out} began with; "
                "restore it or choose another --out"
            )

    def _roll_back(self, loss: float) -> None:
        """Return to the last saved state at half the rate. Raises TrainingError after too many times."""
        trainer, rollbacks = self.trainer, self.trainer.rollbacks + 1
        if rollbacks > MOST_ROLLBACKS:
            raise TrainingError(
                f"stage {trainer.stage + 1}, step {trainer.step}: loss {loss:g} still diverges after {MOST_ROLLBACKS} "
                f"rollbacks; {self.remedy}"
            )
        seen_at, usual = trainer.step, self.usual
        self._restore()
        trainer.slow_down(rollbacks)
        self._tell(
            Rollback(trainer.stage, trainer.step, seen_at, loss if math.isfinite(loss) else None, usual, rollbacks)
        )
        self._save()

    def _validate(self, stage: Stage) -> None:
        """Measure, and save again, so that a resumed run keeps the line that this writes into the log."""
        if not self.trainer.world.writes:
            return
        start, trainer = time.monotonic(), self.trainer
        self.reached = self._measured(SHARES if stage.adaptive else (1.0,))
        self._tell(Validation(trainer.stage, trainer.step, self.reached, round(time.monotonic() - start, 2)))
        self.validated = [trainer.stage, trainer.step]
        self._save()

    def _measured(self, shares: Iterable[float]) -> dict[str, float]:
        """What the moving average reaches on the validation photos at each of their reductions, for people."""
        words: dict[str, float] = {}
        trainer, quality = self.trainer, self.trainer.recipe.valid_jpeg
        model, device = trainer.averaged.model(), str(trainer.world.device)
        for reduction in sorted({pair.reduction for pair in self.valid}):
            pairs = [pair for pair in self.valid if pair.reduction == reduction]
            words |= in_words(validate(model, pairs, shares, device), reduction)
            if quality:
                compressed = validate(model, [as_jpeg(pair, quality) for pair in pairs], shares, device)
                words |= in_words(compressed, reduction, f"JPEG {quality}, ")
        return words

    def _finish(self) -> Path:
        """Save the finished network, with its recipe and results in the header."""
        trainer, path = self.trainer, self.out / "model.safetensors"
        self._save()
        metadata = {
            **self.metadata,
            "recipe": json.dumps(asdict(trainer.recipe)),
            "PSNR-Y on validation": json.dumps(self.reached or self._measured(SHARES)),
            "hours of training": f"{self.seconds / 3600:.2f}",
        }
        checkpoints.save(trainer.averaged.model(), path, metadata=metadata)
        return path

    def _tell(self, entry: Entry) -> None:
        for observer in self.observers:
            observer(entry)


def _work(stage: Stage) -> int:
    """LR pixels of a step."""
    return stage.batch * stage.patch**2
