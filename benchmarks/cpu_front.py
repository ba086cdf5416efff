"""Head and adapter: the native engine's against torch's, and what part of the network's time ours take.

`python benchmarks/cpu_front.py [--rounds 9] [--threads N] [--cases NAME...]`. Equality first; torch runs channels_last.
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
from networks import random_network
from peers import check_equal, environment, spread, time_in_turns
from torch import Tensor

from adadsr import Upscaler
from adadsr.models import NetworkConfig
from adadsr.sparse.backends import BACKENDS
from adadsr.sparse.front import RunFront

BASELINE = NetworkConfig("edsr", 2, 64, 16, 1, adaptive=True, depth_tile=4)
LARGE = NetworkConfig("edsr", 2, 256, 32, 1, adaptive=True, depth_tile=4)
CASES = {
    "edsr-baseline-x2-4": (BASELINE, 180, 320),
    "edsr-baseline-x2-1": (replace(BASELINE, depth_tile=1), 180, 320),
    "adaedsr-x2-4": (LARGE, 96, 96),
    "adaedsr-x2-1": (replace(LARGE, depth_tile=1), 96, 96),
}
TOLERANCE = 1e-4


def runners(case: str) -> dict[str, Callable[[], np.ndarray]]:
    """Head alone and head with adapter, of both, and the whole network."""
    config, height, width = CASES[case]
    network = random_network(config).to(memory_format=torch.channels_last)
    lr, half = torch.rand(1, 3, height, width) * 255, config.n_resblocks / 2

    def runs(front: RunFront, desired: Tensor | None) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:
            with torch.inference_mode():
                z0, scores = front(lr, desired)
            return (z0 if scores is None else scores).numpy()

        return run

    found = {}
    for name in ("torch", "native"):
        front = BACKENDS[name].prepare_front(network.front())
        found[f"{name} head"] = runs(front, None)
        found[f"{name} head and adapter"] = runs(front, torch.tensor([half]))
    upscaler = Upscaler(network, backend="native")
    return found | {"native network": lambda: upscaler(lr, budget=0.5).image.numpy()}


def measure(case: str, rounds: int) -> dict:
    """The row of one case."""
    run = runners(case)
    for part in ("head", "head and adapter"):
        check_equal({"torch": run[f"torch {part}"], "native": run[f"native {part}"]}, TOLERANCE)
    times = {name: taken for name, taken in time_in_turns(dict(run), rounds).items() if taken is not None}
    for name, taken in times.items():
        print(f"{case:20} {name:24} {spread(taken)}")
    middle = {name: round(statistics.median(taken), 3) for name, taken in times.items()}
    return {"case": case, "ms": middle, "share": round(middle["native head and adapter"] / middle["native network"], 4)}


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [measure(case, arguments.rounds) for case in arguments.cases]
    print(json.dumps({"rows": rows, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
