"""PSNR against milliseconds on this processor: a network at several budgets, bicubic, and dense runtimes.

`python benchmarks/quality_time.py DATASET [--scale 2] [--budgets 1 0.75 ...] [--threads N] [--rounds 9] -o plot.png`.
DATASET is a folder as `adadsr evaluate` takes it. PSNR-Y is the mean over its images. Times are those of one image of
the median size, from LR to SR as arrays, all runners in turns. PyTorch, ONNX Runtime and ncnn run the dense network;
that their results are equal is checked. The last line is JSON.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from cpu_network import Dense
from peers import check_equal, environment, open_peers, spread, time_in_turns
from torch import Tensor

from adadsr import Execution, Upscaler, checkpoints
from adadsr.evaluation import EvaluationOptions, evaluate, figures
from adadsr.evaluation.benchmark import Pixels, load_pair, open_benchmark
from adadsr.networks import Network
from adadsr.resize import bicubic_upscale

BUDGETS = (1.0, 0.75, 0.5, 0.35, 0.25)
TOLERANCE = 1e-4
DENSE_PEERS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "ncnn": "ncnn"}


class Clipped(Dense):
    """With the values of an image, as `Upscaler` returns them."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr).clamp(0, 255)


class Point(NamedTuple):
    """Mean PSNR-Y in dB, and median milliseconds."""

    psnr: float
    milliseconds: float


def median_image(dataset: Path, scale: int) -> Pixels:
    """The LR image whose number of pixels is the median."""
    samples = sorted(open_benchmark(dataset, scale).samples, key=lambda sample: sample.height * sample.width)
    return load_pair(samples[len(samples) // 2], scale).lr


def psnr_of(dataset: Path, scale: int, names: list[str], budgets: tuple[float, ...], threads: int) -> dict[str, float]:
    """Mean PSNR-Y by label: a network's name, with its budget if it is adaptive."""
    with tempfile.TemporaryDirectory() as out:
        execution = Execution(border="zero", threads=threads)
        options = EvaluationOptions(
            (str(dataset),), tuple(names), scale, Path(out), budgets=budgets, execution=execution
        )
        return {row.case.label: float(row.quality.psnr_y or np.inf) for row in evaluate(options).rows}


def milliseconds_of(
    lr: Pixels, scale: int, adaptive: str, dense: str, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Milliseconds of all rounds by runner: bicubic, ours at each budget, the dense network by ours and by peers."""
    tensor = torch.from_numpy(lr).permute(2, 0, 1)[None].float()
    module = Clipped(Network.of(checkpoints.load_model(dense)).requires_grad_(False))
    with torch.inference_mode():
        peers = open_peers(module, tensor.clone(), arguments.threads, tuple(DENSE_PEERS))
    execution = Execution(backend="native", threads=arguments.threads, border="zero")
    upscaler = Upscaler(checkpoints.load_model(adaptive), execution)
    ours_dense = Upscaler(checkpoints.load_model(dense), execution)
    check_equal(peers | {"ours": lambda: ours_dense(tensor).image.numpy()}, arguments.tolerance)
    runners: dict[str, Any] = {"bicubic": lambda: bicubic_upscale(lr, scale), "dense": lambda: ours_dense(lr).image}
    runners |= {f"{budget:g}": partial(_run, upscaler, lr, budget) for budget in arguments.budgets}
    runners |= {name: run for name, run in peers.items() if run is not None}
    taken = time_in_turns(runners, arguments.rounds)
    return {name: times for name, times in taken.items() if times is not None}


def _run(upscaler: Upscaler, lr: Pixels, budget: float) -> np.ndarray:
    return np.asarray(upscaler(lr, budget=budget).image)


def draw(path: Path, ours: list[Point], others: dict[str, Point], title: str) -> None:
    """A line for the budgets of the adaptive network, a marker for each other runner."""
    with figures.styled():
        figure = figures.new_figure(2 * figures.PANEL[0], 1.4 * figures.PANEL[1])
        axes = figure.add_subplot()
        axes.plot([p.milliseconds for p in ours], [p.psnr for p in ours], "o-", label="adaptive, ours", color="#0072B2")
        looks = zip(others.items(), figures.MARKERS[1:], figures.COLORS[1:], strict=False)
        for (label, point), marker, color in looks:
            axes.plot(point.milliseconds, point.psnr, marker, label=label, color=color)
        axes.set(xscale="log", xlabel="milliseconds per image", ylabel="PSNR-Y, dB", title=title)
        axes.legend(loc="lower right")
        figure.savefig(path, dpi=200)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("-o", "--out", type=Path, default=Path("quality-time.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    adaptive, dense = (f"{family}-x{arguments.scale}" for family in ("adaedsr-baseline", "edsr-baseline"))
    lr = median_image(arguments.dataset, arguments.scale)
    times = milliseconds_of(lr, arguments.scale, adaptive, dense, arguments)
    names = ["bicubic-rgb", dense, adaptive]
    psnr = psnr_of(arguments.dataset, arguments.scale, names, tuple(arguments.budgets), arguments.threads)
    of_budget = dict(zip(arguments.budgets, [value for name, value in psnr.items() if adaptive in name], strict=True))
    ours = [Point(of_budget[b], statistics.median(times[f"{b:g}"])) for b in arguments.budgets]
    others = {"bicubic": Point(psnr["bicubic-rgb"], statistics.median(times["bicubic"]))}
    others["dense, ours"] = Point(psnr[dense], statistics.median(times["dense"]))
    for peer, label in DENSE_PEERS.items():
        if peer in times:
            others[f"dense, {label}"] = Point(psnr[dense], statistics.median(times[peer]))
    for name, taken in times.items():
        print(f"{name:12} {spread(taken)}")
    size = f"{lr.shape[1]}x{lr.shape[0]}"
    name = arguments.dataset.resolve().name
    draw(arguments.out, ours, others, f"{name}, x{arguments.scale}; times of LR {size}")
    print(json.dumps({"ours": ours, "others": others, "lr": size, **environment(arguments.threads)}))


if __name__ == "__main__":
    main()
