"""Peak memory of head, body and tail in copies of a window's features, and of one large image from file to file.

`python benchmarks/memory.py` measures the factors of `adadsr.upscaler.memory`, each case in a process of its own.
`python benchmarks/memory.py --size 1920 1080` enlarges one picture of that size. The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from adadsr import Upscaler, images
from adadsr.images import Picture
from adadsr.models import Network, NetworkConfig
from adadsr.sparse.backends import BACKENDS
from adadsr.upscaler.memory import Limits
from adadsr.upscaler.passes import Passes
from adadsr.upscaler.report import Target

SIDE = 600
EVERYTHING = 10**9
# backend, backbone, scale, depth tile, desired depth, LR pixels that the tail takes at once
SHAPES = [
    ("edsr", 2, 4, None, 1),
    ("edsr", 2, 4, 1.3, 1),
    ("edsr", 2, 1, 1.3, 1),
    ("rcan", 2, 4, None, 1),
    ("rcan", 2, 1, 1.3, 1),
    ("edsr", 2, 4, None, EVERYTHING),
    ("edsr", 3, 4, None, EVERYTHING),
    ("edsr", 4, 4, None, EVERYTHING),
]
CASES = [(backend, *shape) for backend in ("torch", "native") for shape in SHAPES]


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(backend: str, backbone: str, scale: int, depth_tile: int, depth: float | None, tail_pixels: int) -> float:
    """Peak of one run in copies of the window's features. Two blocks a group: more of them hold no more."""
    n_groups = 2 if backbone == "rcan" else 1
    config = NetworkConfig(backbone, scale, 64, 2, n_groups, adaptive=True, depth_tile=depth_tile)
    network = Network(config).eval().to(memory_format=torch.channels_last)
    passes = Passes(network, BACKENDS[backend])
    for side in (16, SIDE):
        before = peak_bytes()
        lr = (torch.rand(1, 3, side, side) * 255).contiguous(memory_format=torch.channels_last)
        passes.run(lr, Target(depth), Limits(SIDE, tail_pixels), lambda box, sr: None, lambda share: None)
    return (peak_bytes() - before) / (SIDE * SIDE * config.n_feats * 4)


def measure_cases() -> list[dict[str, object]]:
    """Every case in a process of its own, since a process never forgets its peak."""
    rows = []
    for index, (backend, backbone, scale, depth_tile, depth, tail_pixels) in enumerate(CASES):
        output = subprocess.run([sys.executable, __file__, "--case", str(index)], capture_output=True, check=True)
        rows.append(
            {
                "backend": backend,
                "backbone": backbone,
                "scale": scale,
                "depth_tile": depth_tile,
                "depth": "full" if depth is None else depth,
                "tail": "whole" if tail_pixels == EVERYTHING else "rows",
                "copies": round(float(output.stdout), 2),
            }
        )
        print(rows[-1])
    return rows


def measure_large(model: str, size: tuple[int, int], memory: int | None, budget: float) -> dict[str, object]:
    """One picture of that width and height, enlarged from file to file."""
    upscaler = Upscaler.from_pretrained(model, memory=memory)
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.png", Path(folder) / "out.png"
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        images.write_image(source, Picture(noise))
        start = time.perf_counter()
        result = upscaler(source, budget=budget)
        result.save(target)
        seconds = time.perf_counter() - start
    return {
        "output": result.report.output_size,
        "tiles": result.report.tiles,
        "achieved_budget": round(result.report.achieved_budget, 4),
        "seconds": round(seconds, 1),
        "peak_gb": round(peak_bytes() / 1e9, 3),
    }


def main() -> None:
    """Run the cases, or one large picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int)
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of one picture to enlarge")
    parser.add_argument("--memory", type=float, help="GiB")
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--budget", type=float, default=0.5)
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(measure(*CASES[arguments.case]))
    elif arguments.size:
        memory = None if arguments.memory is None else int(arguments.memory * 2**30)
        print(json.dumps(measure_large(arguments.model, tuple(arguments.size), memory, arguments.budget)))
    else:
        print(json.dumps({"rows": measure_cases(), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
