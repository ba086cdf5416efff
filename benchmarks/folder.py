"""A folder of JPEGs from files to files: what share of the time is spent in the engine.

`python benchmarks/folder.py PHOTO [--size 1280 720] [--images 12] [--rounds 3] [--model NAME] [--budget 0.5]`. Crops of
the photo, each mirrored differently, are written as JPEGs and upscaled by `batch.run`, in turns with the same steps one
after the other. The first round does not count. Both must write the same bytes. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from upscale import middle

from adadsr import Execution, Upscaler, batch, images
from adadsr.batch import Measured, Options
from adadsr.evaluation.results import describe_environment
from adadsr.upscaler import Chain, Target

METHODS = ("features", "scores", "body", "tail")


class Clock:
    """Seconds inside the engine."""

    def __init__(self, engine: Any) -> None:
        self.seconds = 0.0
        for name in METHODS:
            setattr(engine, name, self._timed(getattr(engine, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return call


def overlapped(chain: Chain, measured: list[Measured], options: Options) -> None:
    """All images in one run."""
    run = batch.run(chain, measured, options)
    assert all(result.report is not None for result in run.results), run.results


def one_by_one(chain: Chain, measured: list[Measured], options: Options) -> None:
    """Each image in a run of its own: nothing overlaps."""
    for each in measured:
        overlapped(chain, [each], options)


WAYS = {"overlapped": overlapped, "one by one": one_by_one}


def main() -> None:
    """Measure both ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--budget", type=float)
    arguments = parser.parse_args()
    pixels = middle(arguments.photo, *arguments.size)
    upscaler = Upscaler.from_pretrained(arguments.model)
    clock, chain = Clock(upscaler.engine), Chain.of(upscaler)
    options = Options(Target(budget=arguments.budget))
    shares: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("in").mkdir()
        for number in range(arguments.images):
            turned = pixels[:: 1 - 2 * (number % 2), :: 1 - number % 4 // 2 * 2]
            picture = images.picture_from_array(np.ascontiguousarray(turned))
            images.write_image(f"in/{number:03}.jpg", picture, quality=90)
        for turn in range(arguments.rounds + 1):
            for way, upscale in WAYS.items():
                jobs = batch.find_jobs(["in"], way)
                measured, _ = batch.measure(jobs.to_run, chain.size, options)
                clock.seconds, start = 0.0, time.perf_counter()
                upscale(chain, measured, options)
                elapsed = time.perf_counter() - start
                written = [path.read_bytes() for path in sorted(Path(way).iterdir())]
                assert written == [path.read_bytes() for path in sorted(Path("overlapped").iterdir())]
                for path in Path(way).iterdir():
                    if way != "overlapped":
                        path.unlink()
                if turn:
                    shares[way].append(clock.seconds / elapsed)
                    seconds[way].append(elapsed / arguments.images)
            for path in Path("overlapped").iterdir():
                path.unlink()
    rows = [
        {
            "way": way,
            "engine_share": round(statistics.median(shares[way]), 4),
            "seconds_per_image": round(statistics.median(seconds[way]), 3),
        }
        for way in WAYS
    ]
    for row in rows:
        print(row)
    print(json.dumps({"rows": rows, "size": arguments.size, "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
