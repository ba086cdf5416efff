"""The least time that a GPU could need: operations over its peak, bytes over its bandwidth. Nothing is measured here.

`python benchmarks/gpu_floors.py [--tflops 989.4] [--bandwidth 3.35] [--batch 1]` computes both for the cases of
gpu_network.py, from the networks and from depth maps like there: multiply-accumulates of head, body, tail, and adapter
where it runs, at two operations each; features that the body's steps read and write in half precision, each once a
step (features that stay in the second-level cache need not pass through memory). Defaults: NVIDIA's data sheet of the
H100 SXM, float16 without sparsity, and TB/s (the H200 has 4.8). The last line is JSON.
"""

import argparse
import json

from gpu_cases import BATCHES, DENSITIES, MASKS, cases, depth_map, executed_macs, moved_bytes
from networks import shapes_only


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=989.4)
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s")
    parser.add_argument("--batch", type=int, choices=BATCHES, default=1)
    arguments = parser.parse_args()
    print(f"{'case':32} {'mask':7} {'active':>6} {'TFLOP':>8} {'GB':>8} {'operations':>11} {'bytes':>9}")
    rows = []
    for case in cases(batches=[arguments.batch]):
        network = shapes_only(case.config)
        for mask, density in [("dense", 1.0), *((mask, density) for mask in MASKS for density in DENSITIES)]:
            side = MASKS.get(mask, 4)
            depths = None if mask == "dense" else depth_map(case, side, density)
            flop = 2 * executed_macs(case, network, depths, side)
            moved = moved_bytes(case, depths, side)
            milliseconds = flop / arguments.tflops / 1e9, moved / arguments.bandwidth / 1e9
            rows.append({"case": str(case), "mask": mask, "active": density, "tflop": flop / 1e12, "gb": moved / 1e9})
            rows[-1] |= {"operations_ms": round(milliseconds[0], 4), "bytes_ms": round(milliseconds[1], 4)}
            print(
                f"{case!s:32} {mask:7} {density:6.0%} {flop / 1e12:8.3f} {moved / 1e9:8.3f} "
                f"{milliseconds[0]:8.3f} ms {milliseconds[1]:6.3f} ms"
            )
    print(json.dumps({"tflops": arguments.tflops, "bandwidth_tb": arguments.bandwidth, "rows": rows}))


if __name__ == "__main__":
    main()
