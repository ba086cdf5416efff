"""`Upscaler` from a decoded photo to its enlargement, native against the portable backend and the dense definition.

`python benchmarks/upscale.py PHOTO [--size 1280 720] [--rounds 5] [--model NAME] [--backends native dense]`. The middle
of the photo is cut to the size. Backends take turns; each is checked against the first, which the others are compared
with. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from peers import PAUSE

from adadsr import Execution, Upscaler, images
from adadsr.evaluation.results import describe_environment

BUDGETS = (1.0, 0.5)
BACKENDS = ("native", "torch", "dense")
TOLERANCE = 1
"""Gray levels: a value between two of them may be rounded either way."""


def middle(path: Path, width: int, height: int) -> np.ndarray:
    """The middle of a photo, (height, width, 3) uint8."""
    pixels = images.read_image(path).pixels
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    if top < 0 or left < 0 or pixels.shape[2] != 3:
        raise SystemExit(f"{path}: {pixels.shape} pixels; give an RGB photo of at least {width}x{height}")
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def main() -> None:
    """Measure every backend at every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    arguments = parser.parse_args()
    photo = middle(arguments.photo, *arguments.size)
    upscalers = {
        name: Upscaler.from_pretrained(arguments.model, Execution(backend=name)) for name in arguments.backends
    }
    seconds: dict[tuple[str, float], list[float]] = {}
    reports = {}
    for turn in range(arguments.rounds + 1):
        for budget in BUDGETS:
            expected = None
            for name, upscaler in upscalers.items():
                time.sleep(PAUSE)
                start = time.perf_counter()
                result = upscaler(photo, budget=budget)
                elapsed = time.perf_counter() - start
                expected = result.image if expected is None else expected
                if np.abs(result.image.astype(int) - expected).max() > TOLERANCE:
                    raise SystemExit(f"{name} differs from {arguments.backends[0]} at a budget of {budget}")
                reports[name, budget] = result.report
                if turn:  # the first one warms up
                    seconds.setdefault((name, budget), []).append(elapsed)
    rows = []
    for (name, budget), taken in seconds.items():
        report, median = reports[name, budget], statistics.median(taken)
        first = statistics.median(seconds[arguments.backends[0], budget])
        row = {"backend": name, "budget": budget, "seconds": round(median, 3), "over_first": round(median / first, 2)}
        rows.append(row | {"achieved_budget": round(report.achieved_budget, 4), "tiles": report.tiles})
        print(rows[-1])
    environment = describe_environment(Execution())
    print(json.dumps({"rows": rows, "size": list(arguments.size), "environment": environment}))


if __name__ == "__main__":
    main()
