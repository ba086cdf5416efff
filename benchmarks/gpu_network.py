"""Whole networks on the Triton engine against dense ones on the same GPU: equality first, then times.

`python benchmarks/gpu_network.py [--quick] [--seconds 520] [--networks NAME...] [--batches 1 8]` needs a CUDA device
and prints rows as they are measured: EDSR (256 features), EDSR-baseline (64) and AdaRCAN at x2 in float16, LR 512x512
and 180x320, batches of 1 and 8, depth maps of five densities over tiles and pixels, from LR to SR, the adapter
included. The peers are the dense network without its adapter (eager in channels_last, torch.compile with max-autotune,
CUDA graphs of both) and, for networks without attention, the paper's im2col and product. "sparse" is the engine as a
graph without dense convs, "auto" the same by its measured choice, "eager" the engine without a graph. Ratios are the
fastest dense variant over ours. What there was no time for is named. The last line is JSON.
`--interpret` checks equality with small networks on the CPU, by triton's interpreter, and times nothing.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

if "--interpret" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton
from gpu_cases import BATCHES, DENSITIES, MASKS, NETWORKS, Case, cases, depth_map, executed_macs
from gpu_forward import Captured, Forward, RunBody
from gpu_peers import Runner, dense_body, dense_variants, im2col_body, measured_bandwidth, measured_peak, median_times
from networks import as_tensors, random_network
from torch import Tensor

from adadsr.backends.gpu.body import BodyPlan, TritonBody
from adadsr.graph import BodyWeights, NetworkWeights
from adadsr.networks import NetworkConfig
from adadsr.tensor_ops import OPS

HALF = torch.float16
QUICK = (1.0, 0.5, 0.25)
ROUNDS = 5
COMPILE_SECONDS = 120
"""torch.compile is left out where less time is left."""


def check_equal(case: Case, device: torch.device) -> list[dict[str, Any]]:
    """Errors of the engine and its peers, in half precision, against float64.

    Stops where one is more than twice that of the dense definition in half precision.
    """
    network, rows = random_network(case.config), []
    z0 = torch.randn(case.batch, case.config.n_feats, case.height, case.width, device=device)
    for mask, side in MASKS.items():
        body = network.body._replace(depth_tile=side)
        half, exact_body = as_tensors(body, device, HALF), as_tensors(body, device, torch.float64)
        for density in (1.0, 0.5):
            depths = None if density == 1 else depth_map(case, side, density)
            given = None if depths is None else torch.from_numpy(depths).to(device)
            exact = exact_body.run(OPS, z0.double(), None if given is None else given.double())
            dense = float((half.run(OPS, z0.to(HALF), given) - exact).abs().max())
            for name, run in runs_of(half, z0.to(HALF), depths).items():
                error = float((run() - exact).abs().max())
                rows.append({"case": str(case), "mask": mask, "active": density, "run": name})
                rows[-1] |= {"error": error, "dense_error": dense}
                print(f"equal: {case!s:30} {mask:7} {density:5.0%} {name:7} {error:.2e} (dense {dense:.2e})")
                if not error <= 2 * dense + 1e-6:
                    raise SystemExit(f"{name}: the error {error:.3g} is more than twice the dense {dense:.3g}")
    return rows


def runs_of(body: BodyWeights, z0: Tensor, depths: np.ndarray | None) -> dict[str, Runner]:
    """The ways to run a body whose results should agree."""
    engine = TritonBody(body)
    plan = engine.plan(z0, depths)
    given = None if depths is None else torch.from_numpy(depths).to(z0.device)
    runs: dict[str, Runner] = {"sparse": lambda: engine.run(z0, given, engine.sparse_plan)}
    if plan != engine.sparse_plan:
        runs["auto"] = lambda: engine.run(z0, given, plan)
    if given is None:
        runs["peer"] = lambda: dense_body(body, compiled=False)(z0, None)
    elif body.is_local:
        runs["im2col"] = lambda: im2col_body(body)(z0, given)
    return runs


def adaptive_variants(case: Case, network: NetworkWeights, lr: Tensor, side: int, density: float) -> dict[str, Runner]:
    """The adaptive network, adapter included, on the engine and in the paper's way, with a map of a density."""
    device, body, depths = lr.device, network.body._replace(depth_tile=side), depth_map(case, side, density)
    given = torch.from_numpy(depths).to(device)
    desired = torch.full((case.batch,), density * case.config.n_resblocks, device=device, dtype=HALF)
    adapter = as_tensors(random_network(replace(case.config, depth_tile=side)).require_adapter(), device, HALF)
    engine = TritonBody(body)

    def whole(run_body: RunBody) -> Callable[[Tensor], Tensor]:
        forward = Forward(network, run_body)

        def from_lr(image: Tensor) -> Tensor:
            z0 = network.head.run(OPS, image)
            adapter.run(OPS, z0, desired)
            return forward.restore(image, z0, given)

        return from_lr

    def planned(plan: BodyPlan) -> Callable[[Tensor], Tensor]:
        return whole(lambda z0, depth_map: engine.run(z0, depth_map, plan))

    def unplanned(z0: Tensor, depth_map: Tensor | None) -> Tensor:
        return engine.run(z0, depth_map, engine.plan(z0, depths))

    plan = engine.plan(network.head.run(OPS, lr), depths)
    graph = Captured(planned(engine.sparse_plan), lr)
    auto = graph if plan == engine.sparse_plan else Captured(planned(plan), lr)
    eager = whole(unplanned)
    variants = {"sparse": lambda: graph(lr), "auto": lambda: auto(lr), "eager": lambda: eager(lr)}
    if case.config.backbone == "edsr":
        paper = whole(im2col_body(body))
        variants["im2col"] = lambda: paper(lr)
    return variants


def measure(
    case: Case, device: torch.device, densities: Sequence[float], peak: float, deadline: float, *, compiled: bool
) -> list[dict[str, Any]]:
    """The rows of one case: of the dense variants, then of each mask and density while there is time."""
    network = as_tensors(random_network(case.config), device, HALF)
    lr = torch.rand(case.batch, 3, case.height, case.width, device=device, dtype=HALF) * 255
    lr = lr.contiguous(memory_format=torch.channels_last)
    dense = dense_variants(network, lr, compiled=compiled)
    times = median_times(dense, ROUNDS)
    flop = 2 * executed_macs(case, network, None, 4) / 1e9
    rows = [row(case, f"dense, {name}", 1.0, {name: ms}, flop, peak, times) for name, ms in times.items()]
    fastest = min(times, key=lambda name: times[name])
    dense = {fastest: dense[fastest]}  # each graph holds gigabytes
    for mask, side in MASKS.items():
        for density in densities:
            gone = {"case": str(case), "mask": mask, "active": density}
            if time.monotonic() > deadline:
                rows.append(gone | {"left_out": "too little time"})
                continue
            try:
                ours = adaptive_variants(case, network, lr, side, density)
                turns = median_times({**dense, **ours}, ROUNDS)
            except torch.cuda.OutOfMemoryError:
                rows.append(gone | {"left_out": "too little memory"})
                continue
            flop = 2 * executed_macs(case, network, depth_map(case, side, density), side) / 1e9
            own = {name: turns[name] for name in ours}
            rows.append(row(case, mask, density, own, flop, peak, {**times, fastest: turns[fastest]}))
    return rows


def row(
    case: Case, mask: str, density: float, own: dict[str, float], gflop: float, peak: float, dense: dict[str, float]
) -> dict[str, Any]:
    """One row, printed. own: milliseconds of what is compared, the first of them in TFLOP/s; dense: of the peers."""
    best, (first, *_) = min(dense.values()), own.values()
    rate = gflop / first
    times = "  ".join(f"{name} {ms:8.3f} ms {best / ms:5.2f}x" for name, ms in own.items())
    print(f"{case!s:30} {mask:22} {density:5.0%} {rate:6.1f} TFLOP/s {rate / peak:4.0%}  {times}", flush=True)
    return {
        "case": str(case),
        "mask": mask,
        "active": density,
        "ms": own,
        "dense_ms": dense,
        "ratio_to_fastest_dense": {name: best / ms for name, ms in own.items()},
        "tflops": rate,
        "share_of_peak": rate / peak,
    }


def environment() -> dict[str, Any]:
    """What times depend on. Only torch and triton are needed here, so that the script runs on a bare machine."""
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def interpret() -> None:
    """Check equality of small networks on the CPU."""
    small = {"edsr": replace(NETWORKS["edsr-x2"], n_feats=16, n_resblocks=2)}
    small["rcan"] = replace(NETWORKS["adarcan-x2"], n_feats=16, n_resblocks=1, n_groups=2)
    rows = []
    for name, config in small.items():
        rows += check_equal(Case(name, config, 2, 9, 14), torch.device("cpu"))
    print(json.dumps({"interpreted": True, "equal": rows}))


def measure_all(
    networks: dict[str, NetworkConfig], batches: Sequence[int], device: torch.device, deadline: float, *, quick: bool
) -> dict[str, Any]:
    """Equality, the device's own peak and bandwidth, and the rows of all cases."""
    result = environment()
    torch.backends.cudnn.benchmark = True
    result["equal"] = []
    for name, config in networks.items():
        result["equal"] += check_equal(Case(name, config, 2, 62, 75), device)
    result |= {"peak_tflops": measured_peak(device), "bandwidth_tb": measured_bandwidth(device)}
    print(f"{result['device']}: {result['peak_tflops']:.0f} TFLOP/s, {result['bandwidth_tb']:.2f} TB/s measured")
    result["rows"], densities = [], QUICK if quick else DENSITIES
    for case in cases(networks, batches):
        if time.monotonic() > deadline:
            result["rows"].append({"case": str(case), "left_out": "too little time"})
            continue
        compiled = not quick and deadline - time.monotonic() > COMPILE_SECONDS
        if not compiled:
            reason = "--quick" if quick else "too little time"
            result["rows"].append({"case": str(case), "mask": "dense, compiled", "left_out": reason})
        try:
            result["rows"] += measure(case, device, densities, result["peak_tflops"], deadline, compiled=compiled)
        except Exception as error:  # what was measured before is not lost
            traceback.print_exc()
            result["rows"].append({"case": str(case), "left_out": "an error", "error": str(error)[:1000]})
    return result


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, choices=BATCHES, default=BATCHES)
    parser.add_argument("--quick", action="store_true", help="three densities, no torch.compile")
    parser.add_argument("--seconds", type=float, default=520, help="begin nothing new after so long")
    parser.add_argument("--interpret", action="store_true", help="check equality on the CPU and time nothing")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    with torch.inference_mode():
        if arguments.interpret:
            interpret()
            return
        if not torch.cuda.is_available():
            raise SystemExit("torch sees no CUDA device; --interpret checks equality on the CPU")
        networks = {name: NETWORKS[name] for name in arguments.networks}
        result = measure_all(networks, arguments.batches, torch.device("cuda"), deadline, quick=arguments.quick)
    for entry in result["rows"]:
        if "left_out" in entry:
            print(f"left out because of {entry['left_out']}: {entry['case']} {entry.get('mask', '')}")
    print(json.dumps(result))
    if any("error" in entry for entry in result["rows"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
