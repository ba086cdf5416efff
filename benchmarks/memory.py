"""Peak memory of runs over what their plans say, and of one large image from file to file. Linux only.

`python benchmarks/memory.py` runs each case in a process of its own, since a process never forgets its peak.
`python benchmarks/memory.py --size 1920 1080` enlarges one picture of that size. The last line is JSON.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from adadsr import Execution, Upscaler, images
from adadsr.evaluation.results import describe_environment
from adadsr.images import Picture
from adadsr.networks import Model, NetworkConfig, tensor_shapes

SIDE = 600
WARM_UP_SIDE = 16
UNLIMITED = 2**40
# Two blocks a group: more of them hold no more.
NETWORKS = {
    "edsr": NetworkConfig("edsr", 2, n_resblocks=2, adaptive=True, depth_tile=4),
    "edsr, pixels": NetworkConfig("edsr", 2, n_resblocks=2, adaptive=True),
    "edsr x3": NetworkConfig("edsr", 3, n_resblocks=2, adaptive=True, depth_tile=4),
    "edsr x4": NetworkConfig("edsr", 4, n_resblocks=2, adaptive=True, depth_tile=4),
    "rcan": NetworkConfig("rcan", 2, n_resblocks=2, n_groups=2, adaptive=True, depth_tile=4),
    "rcan, pixels": NetworkConfig("rcan", 2, n_resblocks=2, n_groups=2, adaptive=True),
    "esrgan x4": NetworkConfig("esrgan", 4, n_resblocks=2, adaptive=True, depth_tile=4, growth=32),
}
CASES = [
    (backend, name, active) for backend in ("native", "torch") for name in NETWORKS for active in ("all", "left half")
]
"""Backend, network, and where its blocks run."""


def peak_bytes() -> int:
    """The most memory that this process has held. Not ru_maxrss, which a child takes over from a large parent."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) * 1024


def measure(backend: str, name: str, active: str) -> dict[str, object]:
    """Planned and measured bytes of one run on a square image."""
    config = NETWORKS[name]
    model = Model(config, {key: np.zeros(shape, np.float32) for key, shape in tensor_shapes(config).items()})
    upscaler = Upscaler(model, Execution(backend=backend, memory=UNLIMITED))
    planned = growth = 0
    for side in (WARM_UP_SIDE, SIDE):
        before = peak_bytes()
        prepared = upscaler.prepare(np.zeros((side, side, 3), np.uint8))
        depth_map = np.full(upscaler.engine.network.map_shape(side, side), config.n_resblocks, np.float32)
        depth_map[..., depth_map.shape[-1] // 2 :] *= active == "all"
        plan = prepared.plan() if active == "all" else prepared.plan(depth_map=depth_map)
        prepared.run(plan)
        planned, growth = plan.bytes, peak_bytes() - before
    return {
        "backend": backend,
        "network": name,
        "active": active,
        "planned_mib": round(planned / 2**20, 1),
        "peak_mib": round(growth / 2**20, 1),
        "peak_over_planned": round(growth / planned, 3),
    }


def measure_cases() -> list[dict[str, object]]:
    """Every case in a process of its own."""
    rows = []
    for index in range(len(CASES)):
        output = subprocess.run([sys.executable, __file__, "--case", str(index)], stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(output.stdout))
        print(rows[-1])
    return rows


def measure_large(model: str, size: tuple[int, int], memory: int | None, budget: float) -> dict[str, object]:
    """One picture of that width and height, enlarged from file to file."""
    upscaler = Upscaler.from_pretrained(model, Execution(memory=memory))
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
        "planned_gb": round(result.report.memory_bytes / 1e9, 3),
        "peak_gb": round(peak_bytes() / 1e9, 3),
    }


def main() -> None:
    """Run the cases, or one large picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, help="index of one case, to run in this process")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of one picture to enlarge")
    parser.add_argument("--memory", type=float, help="limit in GiB")
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--budget", type=float, default=0.5)
    arguments = parser.parse_args()
    memory = None if arguments.memory is None else int(arguments.memory * 2**30)
    if arguments.case is not None:
        print(json.dumps(measure(*CASES[arguments.case])))
    elif arguments.size:
        print(json.dumps(measure_large(arguments.model, tuple(arguments.size), memory, arguments.budget)))
    else:
        print(json.dumps({"rows": measure_cases(), "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
