"""From a recipe to a finished checkpoint: stage after stage, from where an earlier process was interrupted."""

import json
import time
from pathlib import Path

from adadsr import checkpoints
from adadsr.datasets import Pair
from adadsr.training.recipe import Stage
from adadsr.training.trainer import Trainer
from adadsr.training.validation import SHARES, in_words, validate


def run(trainer: Trainer, valid: list[Pair], out: Path, *, every: int) -> None:
    """Train to the end of the last stage; the result is `out/model.safetensors`.

    every: steps between saving the state to `out/state.pt` and validating.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = out / "state.pt"
    if state.exists():
        trainer.load(state)
    stages = trainer.recipe.stages
    while trainer.stage < len(stages):
        stage = stages[trainer.stage]
        trainer.begin(stage)
        while trainer.step < stage.steps:
            start, count = time.perf_counter(), min(every, stage.steps - trainer.step)
            losses = [trainer.advance(stage) for _ in range(count)]
            seconds = (time.perf_counter() - start) / count
            trainer.save(state)
            _report(trainer, valid, stage, sum(losses) / count, seconds)
        trainer.stage, trainer.step = trainer.stage + 1, 0
    checkpoints.save(trainer.averaged, out / "model.safetensors")


def _report(trainer: Trainer, valid: list[Pair], stage: Stage, loss: float, seconds: float) -> None:
    scores = validate(trainer.averaged, valid, SHARES if stage.adaptive else (1.0,))
    entry = {"stage": trainer.stage, "step": trainer.step, "loss": round(loss, 4), "psnr_y": in_words(scores)}
    print(json.dumps(entry | {"seconds_per_step": round(seconds, 3)}), flush=True)
