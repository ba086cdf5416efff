"""Dense runtimes that the native engine is held against, and timing in turns. What is not installed is None.

`make bench-cpu` installs them.
"""

import argparse
import copy
import importlib.metadata
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adadsr.machine import processor_name

Runner = Callable[[], np.ndarray]
PAUSE = 0.25
"""Seconds before a turn: threads of the runtime before it wait busily for so long, and would be measured with it."""
WARM_UP = 0.1
"""Seconds of runs that do not count after a pause: processors that were idle come back slowly."""
PEERS = ("torch", "onnxruntime", "openvino", "ncnn")
AVX2 = {
    "ADADSR_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # the convs of torch and OpenVINO
}
"""What limits each library to AVX2. Libraries read it when they are loaded."""
WITH_BFLOAT16 = ("torch", "openvino")
"""Peers that multiply bfloat16 on processors that do."""
UNLIMITED = ("onnxruntime", "ncnn")
"""Peers that always use the widest vectors of the machine: they choose when they are built, or ask the processor."""


def add_avx2_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--avx2", action="store_true", help="everybody without AVX-512, as far as they can be told so")


def limit_to_avx2() -> None:
    """Start this program again with the variables of `AVX2`, unless they are set."""
    if not AVX2.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2})
    print(f"AVX2 only: ours and all peers but {' and '.join(UNLIMITED)}, which cannot be limited")


def open_peers(
    module: nn.Module, example: Tensor, threads: int, names: Collection[str] = PEERS, *, bfloat16: bool = False
) -> dict[str, Runner | None]:
    """Each peer ready to run a module on an example (1, C, H, W); all give (1, C', H', W') as an array.

    names: those to run beside torch. bfloat16: only those that compute in it.
    """
    opened: dict[str, Runner | None] = {"torch": open_torch(module, example, bfloat16=bfloat16)}
    openers = {
        "onnxruntime": open_onnxruntime,
        "openvino": partial(open_openvino, precision="bf16" if bfloat16 else "f32"),
        "ncnn": open_ncnn,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, opener in openers.items():
            if name not in names or (bfloat16 and name not in WITH_BFLOAT16):
                opened[name] = None
                continue
            try:
                opened[name] = opener(module, example, threads, Path(folder))
            except (ImportError, RuntimeError) as error:
                print(f"{name} does not run: {error}")
                opened[name] = None
    return opened


def open_torch(module: nn.Module, example: Tensor, *, bfloat16: bool = False) -> Runner:
    """PyTorch in inference mode, channels last."""
    module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = example.contiguous(memory_format=torch.channels_last)

    def run() -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return module(example).float().numpy()

    return run


def export_onnx(module: nn.Module, example: Tensor, folder: Path) -> Path:
    """The module as an ONNX file, written once."""
    path = folder / "module.onnx"
    if not path.exists():
        torch.onnx.export(module, (example,), path, dynamo=True, verbose=False)
    return path


def open_onnxruntime(module: nn.Module, example: Tensor, threads: int, folder: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = export_onnx(module, example, folder)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: example.numpy()}
    return lambda: session.run(None, feed)[0]


def open_openvino(module: nn.Module, example: Tensor, threads: int, folder: Path, precision: str = "f32") -> Runner:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(export_onnx(module, example, folder), "CPU", options)
    array = example.numpy()
    return lambda: compiled(array)[0]


def open_ncnn(module: nn.Module, example: Tensor, threads: int, folder: Path) -> Runner:
    """The module, or its `pieces` one after another if it has some."""
    import ncnn
    import pnnx

    nets, x = [], example.contiguous()
    for number, piece in enumerate(module.pieces() if hasattr(module, "pieces") else [module]):
        path = folder / f"piece{number}"
        pnnx.export(piece, f"{path}.pt", (x,), fp16=False)
        net = ncnn.Net()
        net.opt.num_threads = threads
        if net.load_param(f"{path}.ncnn.param") or net.load_model(f"{path}.ncnn.bin"):
            raise RuntimeError("pnnx did not convert the network")  # it ends without an exception
        nets.append(net)
        x = piece(x)
    # A copy that ncnn owns: layers that work in place crash on memory of others (Tencent/ncnn#1543). `pixels` has to
    # outlive the copy: ncnn.Mat does not keep its array alive.
    pixels = np.ascontiguousarray(example[0].numpy())
    image = ncnn.Mat(pixels).clone()

    def run() -> np.ndarray:
        result = image
        for net in nets:
            extractor = net.create_extractor()  # it remembers results, so a new one for each image
            extractor.input("in0", result)
            result = extractor.extract("out0")[1]
        return np.array(result)[None]

    run.keeps_alive = nets  # type: ignore[attr-defined]
    return run


def check_equal(runners: dict[str, Runner | None], tolerance: float, exact: Runner | None = None) -> None:
    """Stop where a runner's result differs by more than `tolerance` of its largest value from that of `exact`.

    exact: torch's by default. Given, each runner's error is printed.
    """
    reference = exact or runners["torch"]
    assert reference is not None
    expected = reference()
    for name, runner in runners.items():
        if runner is not None:
            error = float(np.abs(runner() - expected).max() / np.abs(expected).max())
            if exact is not None:
                print(f"{name:12} errs by {error:.1e} of the largest value")
            if not error <= tolerance:
                raise SystemExit(f"{name} differs from torch by {error:.2g} of the largest value")


def warm_milliseconds(run: Runner) -> float:
    """Milliseconds of a run, after a pause and some runs that do not count."""
    time.sleep(PAUSE)
    warm = time.perf_counter() + WARM_UP
    run()
    while time.perf_counter() < warm:
        run()
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def cpu_milliseconds(run: Runner) -> float:
    """Milliseconds that the process computes in a run, after one that does not count."""
    run()
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start)


def time_in_turns(
    runners: dict[str, Any], rounds: int, timed: Callable[[Any], float] = warm_milliseconds
) -> dict[str, list[float] | None]:
    """Milliseconds of each round of each runner by `timed`: one after the other, round after round."""
    times: dict[str, list[float] | None] = {name: None if run is None else [] for name, run in runners.items()}
    for _ in range(rounds):
        for name, taken in times.items():
            if taken is not None:
                taken.append(timed(runners[name]))
    return times


def median(times: list[float] | None) -> float | None:
    return None if times is None else statistics.median(times)


def row(case: str, mask: str, active: float, ours: list[float], times: dict[str, list[float] | None]) -> dict:
    """One row of the result: our median in milliseconds, and each peer's median over it."""
    print(f"{case:18} {mask:7} {active:5.0%}  {spread(ours)}", end="")
    result = {"case": case, "mask": mask, "active": active, "ms": round(statistics.median(ours), 3)}
    for peer in PEERS:
        ratio = None if times[peer] is None else round(statistics.median(times[peer]) / statistics.median(ours), 2)
        result[f"vs_{peer}"] = ratio
        print(f"  {'-' if ratio is None else f'{ratio:.2f}':>6}", end="")
    print()
    return result


def spread(times: list[float]) -> str:
    """Median, and the quarters around it."""
    low, middle, high = statistics.quantiles(times, n=4)
    return f"{middle:9.2f} ms ({low:.2f}-{high:.2f})"


def environment(threads: int) -> dict:
    """What the figures were measured with."""
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "versions": versions,
        "threads": threads,
        "processor": processor_name(),
        "isa": os.environ.get("ADADSR_ISA"),
    }
