"""Head and adapter: the native engine's against torch's, and what part of the network's time ours take.

`python benchmarks/cpu_head.py [--rounds 9] [--threads N] [--cases NAME...]`. Equality first; torch runs channels_last.
The weights are random. edsr-baseline-x2 is for an LR image of 180x320, adaedsr-x2 (256 channels) for one of 96x96; the
number at the end is the side of what shares a depth. The network is ours, at half the cost. The last line is JSON.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from networks import random_model
from peers import check_equal, environment, spread, time_in_turns

from adadsr import Execution, Upscaler, backends
from adadsr.networks import NetworkConfig

BASELINE = NetworkConfig("edsr", 2, 64, 16, 1, adaptive=True, depth_tile=4)
LARGE = NetworkConfig("edsr", 2, 256, 32, 1, adaptive=True, depth_tile=4)
CASES = {
    "edsr-baseline-x2-4": (BASELINE, 180, 320),
    "edsr-baseline-x2-1": (replace(BASELINE, depth_tile=1), 180, 320),
    "adaedsr-x2-4": (LARGE, 96, 96),
    "adaedsr-x2-1": (replace(LARGE, depth_tile=1), 96, 96),
}
TOLERANCE = 1e-4


def runners(case: str, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """Head and adapter of both, and the whole network."""
    config, height, width = CASES[case]
    model = random_model(config)
    lr = np.random.default_rng(0).random((1, height, width, 3), np.float32) * 255
    found = {}
    for name in ("torch", "native"):
        engine = backends.prepare(model.weights(), name, threads=threads)
        found[name] = lambda engine=engine: engine.scores(engine.features(lr), config.n_resblocks / 2)
    upscaler = Upscaler(model, Execution(backend="native", threads=threads))
    image = torch.from_numpy(lr[0]).permute(2, 0, 1)
    return found | {"native network": lambda: upscaler(image, budget=0.5).image.numpy()}


def measure(case: str, rounds: int, threads: int) -> dict:
    """The row of one case."""
    run = runners(case, threads)
    check_equal({name: run[name] for name in ("torch", "native")}, TOLERANCE)
    times = {name: taken for name, taken in time_in_turns(dict(run), rounds).items() if taken is not None}
    for name, taken in times.items():
        print(f"{case:20} {name:24} {spread(taken)}")
    middle = {name: round(statistics.median(taken), 3) for name, taken in times.items()}
    return {"case": case, "ms": middle, "share": round(middle["native"] / middle["native network"], 4)}


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [measure(case, arguments.rounds, arguments.threads) for case in arguments.cases]
    print(json.dumps({"rows": rows, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
