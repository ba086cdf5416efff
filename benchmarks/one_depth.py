"""What depth maps bring: PSNR-Y by the adapter's maps and by one depth everywhere, at the same cost.

`python benchmarks/one_depth.py MODEL BENCHMARK... [--data-root DIR] [--blocks 8 4]`

Benchmarks are given as to `adadsr evaluate`, whose border is used, too. Each image runs with every number of blocks
everywhere, which needs no adapter, and by the map of the same cost, which includes it. Printed are means over a
benchmark, in dB; the last line is JSON.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adadsr import Execution, Upscaler
from adadsr.evaluation.benchmark import Benchmark, find_folder, load_pair, open_benchmark
from adadsr.metrics import psnr_y


def compare(upscaler: Upscaler, benchmark: Benchmark, blocks: int) -> npt.NDArray[np.float64]:
    """Mean PSNR-Y with one number of blocks everywhere, and by maps of that cost."""
    scores, network = [], upscaler.engine.network
    for sample in benchmark.samples:
        pair = load_pair(sample, upscaler.scale)
        prepared = upscaler.prepare(pair.lr)
        uniform = prepared.plan(depth_map=np.full(network.map_shape(*pair.lr.shape[:2]), blocks, np.float32))
        plans = uniform, prepared.plan(budget=uniform.budget)
        scores.append([psnr_y(prepared.run(plan).image, pair.hr, upscaler.scale) for plan in plans])
    return np.mean(scores, axis=0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("benchmarks", nargs="+")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ADADSR_DATA_ROOT", ".")))
    parser.add_argument("--blocks", nargs="+", type=int, default=[8, 4])
    given = parser.parse_args()
    upscaler = Upscaler.from_pretrained(given.model, Execution(border="zero"))
    rows = []
    for name in given.benchmarks:
        benchmark = open_benchmark(find_folder(name, given.data_root), upscaler.scale)
        for blocks in given.blocks:
            one_depth, maps = compare(upscaler, benchmark, blocks)
            gain = maps - one_depth
            print(f"{benchmark.name}, {blocks} blocks: {one_depth:.3f}, by maps {maps:.3f}, {gain:+.3f}", flush=True)
            rows.append({"benchmark": benchmark.name, "blocks": blocks, "one_depth": one_depth, "maps": maps})
    print(json.dumps({"model": upscaler.name, "psnr_y": rows}))


if __name__ == "__main__":
    main()
