"""Exported adaptive networks at three budgets against the same networks exported densely, in the same runtime.

`python benchmarks/export.py [--rounds 7] [--threads N] [--cases NAME...] [--runtimes NAME...]
[--cpu-time]`. Equality is checked first: the adaptive file at full budget against the dense one. Shares are of the
body; the budget for a share also pays for head, adapter and tail. Figures are the dense file's median time over the
adaptive one's. The last line is JSON.

baseline is the bundled adaedsr-baseline-x2; pixels the same with random weights and one depth per pixel; adaedsr has
256 channels and 32 blocks of random weights. The runtime browser is onnxruntime-web in chromium, with one thread and
128x128 pixels; see `browser_runtime`.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from browser_runtime import open_browser
from networks import random_model
from peers import Runner, cpu_milliseconds, environment, spread, time_in_turns, warm_milliseconds

from adadsr import checkpoints, export
from adadsr.export import verifying
from adadsr.graph import NetworkWeights
from adadsr.networks import Model, NetworkConfig
from adadsr.upscaler.frame import Frame
from adadsr.upscaler.plan import budget_of

SHARES = (1.0, 0.5, 0.25)
TOLERANCE = 1e-2
"""Of 255, between the two files at full budget."""
CASES: dict[str, tuple[Callable[[], Model], int, int]] = {
    "baseline": (lambda: checkpoints.load_model("adaedsr-baseline-x2"), 320, 180),
    "pixels": (lambda: random_model(NetworkConfig("edsr", 2, 64, 16, adaptive=True)), 320, 180),
    "adaedsr": (lambda: random_model(NetworkConfig("edsr", 2, 256, 32, adaptive=True, depth_tile=4)), 160, 90),
}
"""Name -> network, and width and height of the image."""
FORM = export.Form("float32")
BROWSER = "browser"
BROWSER_SIDE = 128


def budget_for(network: NetworkWeights, width: int, height: int, share: float) -> float:
    """The budget at which a share of the body runs; full depth is 1 and runs no adapter."""
    if share == 1:
        return 1.0
    frame = Frame.of(height, width, "reflect", network)
    shape = network.map_shape(height, width)
    least, most = (budget_of(network, frame, np.full(shape, depth, np.float32)) for depth in (0, network.n_blocks))
    return least + share * (most - least)


Timed: TypeAlias = Callable[[dict[str, Runner]], dict[str, list[float]]]
"""Milliseconds of all rounds of runners."""


def measure(case: str, runtime: str, timed: Timed, threads: int) -> list[dict]:
    """The rows of a case in a runtime."""
    build, *size = CASES[case]
    model = build()
    if runtime != BROWSER:
        rows = time_files(model, size, timed, lambda file: verifying.load(file, runtime, threads))
    else:
        size = [BROWSER_SIDE, BROWSER_SIDE]
        with open_browser() as browser:
            rows = time_files(model, size, timed, browser.load)
    for row in rows:
        shown = spread(row.pop("times"))
        print(f"{case:9} {size[0]}x{size[1]} {runtime:12} {row['run']:6} {shown:32} {row['ratio']:.2f}x")
    return [{"case": case, "runtime": runtime, **row} for row in rows]


def time_files(model: Model, size: Sequence[int], timed: Timed, load: Callable[[bytes], verifying.Run]) -> list[dict]:
    """The rows of a model in a runtime. size: (width, height) of the image. load: a file into the runtime."""
    width, height = size
    network, image = model.weights(), verifying.photo(height, width)
    contents = [
        export.to_onnx(network, form, {}).SerializeToString() for form in (export.Form(FORM.image, dense=True), FORM)
    ]
    dense, adaptive = map(load, contents)
    max_loss = 0.0 if network.require_adapter().predicts_errors else None
    runners = {"dense": lambda: dense(verifying.inputs_of(image, FORM, None))}
    for share in SHARES:
        inputs = verifying.inputs_of(image, FORM, verifying.Limits(budget_for(network, width, height, share), max_loss))
        runners[f"{share:.0%}"] = lambda inputs=inputs: adaptive(inputs)
    error = float(np.abs(runners["100%"]()["upscaled"] - runners["dense"]()["upscaled"]).max())
    if not error <= TOLERANCE:
        raise SystemExit(f"the files differ by {error:.3g} of 255")
    times = timed(runners)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        {"run": name, "ms": taken, "ratio": medians["dense"] / taken, "times": times[name]}
        for name, taken in medians.items()
    ]


def main() -> None:
    """Measure all cases in all runtimes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--runtimes", nargs="+", choices=[*export.RUNTIMES, BROWSER], default=list(export.RUNTIMES))
    parser.add_argument("--cpu-time", action="store_true", help="time of the processor, for machines that are not idle")
    arguments = parser.parse_args()
    if arguments.cpu_time and BROWSER in arguments.runtimes:
        parser.error("--cpu-time is that of this process; a browser has others")
    clock = cpu_milliseconds if arguments.cpu_time else warm_milliseconds
    rows = [
        row
        for runtime in arguments.runtimes
        for case in arguments.cases
        for row in measure(
            case, runtime, lambda runners: time_in_turns(runners, arguments.rounds, clock), arguments.threads
        )
    ]
    print(json.dumps({"rows": rows, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
