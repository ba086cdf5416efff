"""A training step on the CPU: 3x3 convs on the native engine against torch's, in turns, and its parts.

`python benchmarks/training_step.py [--network edsr-baseline] [--scale 2] [--batch 8] [--patch 32] [--rounds 9]
[--threads 1]`

Equality comes first: both give the same gradients, and with AMX nearly the same in bfloat16. Then their steps take
turns; the clock is the process's CPU time at one thread, and wall time at more. The parts are those of single steps in
float32. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from adadsr import Execution
from adadsr.backends.native import gradients
from adadsr.datasets import Pair, TrainingImages
from adadsr.evaluation.results import describe_environment
from adadsr.training import Recipe, Stage, Trainer
from adadsr.training.convs import why_not
from adadsr.training.distributed import World

TOLERANCE = 1e-4
"""Largest difference of the gradients, of their norm. The loss is L2: L1 would turn rounding into other signs."""
NEARLY = 5e-2
"""The same for bfloat16."""
PARTS = {"forward": "run", "input gradient": "input_gradient", "weight gradient": "weight_gradient"}
"""Part -> the method of `gradients.Convs` that runs it."""
BFLOAT16 = "native, bfloat16"
GOAL = 2.0


def make_trainer(recipe: Recipe, convs: str) -> Trainer:
    """A trainer of noise."""
    rng, side = np.random.default_rng(0), 4 * recipe.stages[0].patch
    lr, hr = (torch.from_numpy(rng.integers(0, 256, (3, s, s), np.uint8)) for s in (side, side * recipe.scale))
    world = World(0, 1, torch.device("cpu"))
    trainer = Trainer(recipe, TrainingImages([Pair(lr, hr)], recipe.scale, world.device), world, convs=convs)
    trainer.begin()
    return trainer


def gradients_of(trainer: Trainer) -> list[Tensor]:
    """Gradients of the first step."""
    trainer.advance()
    return [parameter.grad.clone() for parameter in trainer.network.parameters() if parameter.grad is not None]


def check_equal(trainers: dict[str, Trainer]) -> None:
    """Raise AssertionError unless all have the gradients of torch."""
    found = {name: torch.cat([part.flatten() for part in gradients_of(each)]) for name, each in trainers.items()}
    for name, ours in found.items():
        error = float((ours - found["torch"]).norm() / found["torch"].norm())
        allowed = NEARLY if name == BFLOAT16 else TOLERANCE
        assert error <= allowed, f"{name}: gradients differ by {error:.1e} of their norm"


def parts_of(trainer: Trainer, clock: Callable[[], float], rounds: int) -> dict[str, float]:
    """Median milliseconds of the native engine's parts of a step."""
    spent: dict[str, float] = defaultdict(float)

    def timed(part: str, method: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            start = clock()
            result = method(*arguments, **options)
            spent[part] += clock() - start
            return result

        return run

    methods = {part: getattr(gradients.Convs, name) for part, name in PARTS.items()}
    try:
        for part, method in methods.items():
            setattr(gradients.Convs, PARTS[part], timed(part, method))
        each = []
        for _ in range(rounds):
            spent.clear()
            trainer.advance()
            each.append(dict(spent))
    finally:
        for part, method in methods.items():
            setattr(gradients.Convs, PARTS[part], method)
    return {part: 1000 * statistics.median(taken[part] for taken in each) for part in PARTS}


def main() -> None:
    """Prove equality, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="edsr-baseline")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    adaptive = given.network.startswith("ada")
    stage = Stage(1000, given.batch, given.patch, 1e-4, loss="l2", adaptive=adaptive)
    recipe = Recipe(given.network, given.scale, 4 if adaptive else 1, (stage,))
    trainers = {name: make_trainer(recipe, name) for name in ("native", "torch")}
    half = replace(recipe, precision="bfloat16")
    if why_not(half, torch.device("cpu")) is None:
        trainers[BFLOAT16] = make_trainer(half, "native")
    check_equal(trainers)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(given.rounds):
        for name, trainer in trainers.items():
            start = clock()
            trainer.advance()
            times[name].append(clock() - start)
    medians = {name: 1000 * statistics.median(taken) for name, taken in times.items()}
    ratio = medians["torch"] / medians["native"]
    parts = parts_of(trainers["native"], clock, given.rounds)
    parts["all else"] = medians["native"] - sum(parts.values())
    for name, taken in times.items():
        print(f"{name:16} {medians[name]:7.1f} ms ({1000 * min(taken):.1f} to {1000 * max(taken):.1f})")
    for part, value in parts.items():
        print(f"    {part:16} {value:7.1f} ms")
    for name, trainer in trainers.items():
        if name != "torch":
            print(f"{medians['torch'] / medians[name]:.2f} times as fast as torch, on {trainer.convs.label}")
    result = {"milliseconds": medians, "parts": parts, "ratio": round(ratio, 3), "goal": GOAL, "met": ratio >= GOAL}
    print(json.dumps(result | vars(given) | {"environment": describe_environment(Execution(threads=given.threads))}))


if __name__ == "__main__":
    main()
