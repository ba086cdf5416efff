"""What a prepared image saves: head and adapter of its second budget, against a call for that budget alone.

`python benchmarks/second_budget.py [--size 1280 720] [--budgets 0.5 0.3] [--rounds 7] [--memory GIB]`

Equality comes first: the second budget of a prepared image gives the image of a fresh call. Then the two take turns.
Head and adapter are timed inside the calls, because they are a small part of them. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from adadsr import Execution, Prepared, Upscaled, Upscaler
from adadsr.backends import Engine
from adadsr.evaluation.results import describe_environment

GOAL = 0.95


class TimedEngine:
    """An engine that adds up the seconds of head and adapter."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.seconds = engine, 0.0

    def features(self, *arguments: Any) -> Any:
        """See `Engine`."""
        return self._timed(self._engine.features, *arguments)

    def scores(self, *arguments: Any) -> Any:
        """See `Engine`."""
        return self._timed(self._engine.scores, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _timed(self, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments)
        self.seconds += time.perf_counter() - start
        return result


def measure(engine: TimedEngine, run: Callable[[], Upscaled]) -> tuple[float, float]:
    """Seconds of a run, and of head and adapter in it."""
    engine.seconds, start = 0.0, time.perf_counter()
    run()
    return time.perf_counter() - start, engine.seconds


def main() -> None:
    """Prove equality, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--budgets", type=float, nargs=2, default=(0.5, 0.3), metavar=("FIRST", "SECOND"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=float, help="limit in GiB")
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    arguments = parser.parse_args()
    memory = None if arguments.memory is None else int(arguments.memory * 2**30)
    upscaler = Upscaler.from_pretrained(arguments.model, Execution(memory=memory))
    engine = TimedEngine(upscaler.engine)
    upscaler.engine = engine  # type: ignore[assignment]
    width, height = arguments.size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    first, second = arguments.budgets

    prepared: Prepared = upscaler.prepare(image)
    prepared.run(prepared.plan(budget=first))
    fresh = upscaler(image, budget=second)
    np.testing.assert_array_equal(prepared.run(prepared.plan(budget=second)).image, fresh.image)

    times: dict[str, list[tuple[float, float]]] = {"prepared": [], "fresh": []}
    for _ in range(arguments.rounds):
        times["prepared"].append(measure(engine, lambda: prepared.run(prepared.plan(budget=second))))
        times["fresh"].append(measure(engine, lambda: upscaler(image, budget=second)))
    totals = {name: statistics.median(total for total, _ in taken) for name, taken in times.items()}
    fronts = {name: statistics.median(front for _, front in taken) for name, taken in times.items()}
    saved = 1 - fronts["prepared"] / fronts["fresh"]
    for name in times:
        print(f"{name:9} {1000 * totals[name]:8.1f} ms, {1000 * fronts[name]:6.1f} ms of it head and adapter")
    print(f"saved: {saved:.1%} of head and adapter, in {fresh.report.tiles} tiles")
    result = {"saved": round(saved, 4), "goal": GOAL, "met": saved >= GOAL, "tiles": fresh.report.tiles}
    result |= {"seconds": totals, "head_and_adapter_seconds": fronts, "size": [width, height]}
    print(json.dumps(result | {"environment": describe_environment(Execution(memory=memory))}))


if __name__ == "__main__":
    main()
