"""What this machine can do at most, and how far convs of 4x4 tiles are from it.

`python benchmarks/cpu_roofline.py [--threads N]`, for every vector instruction set. The multiply rate is
that of a 5x5 conv whose weights stay in the caches and which does nothing else; bandwidth that of copying features far
larger than the caches. A conv's floor is the longer of the time for its multiplications and the time to read and write
its features once.
The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from cpu_conv import CASES
from peers import environment

from adadsr.backends.native import _native

POINTS, TILE_PIXELS, TAPS = 36, 16, 25
COPIED = 2**28


def seconds(run: Callable[[], object], least: float = 0.5) -> float:
    """The median of runs that take `least` seconds together, after one that does not count."""
    run()
    times: list[float] = []
    while len(times) < 9 or sum(times) < least:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def multiply_rate(isa: str, threads: int) -> float:
    """Multiply-accumulates a second of a 5x5 conv of 64 to 16 channels over a few long rows."""
    channels, outputs, height, width = 64, 16, 16, 1202
    source = _native.Canvas(1, height, width, channels)
    weight = torch.full((outputs, channels, 5, 5), 0.01)
    weights = [_native.UpsamplingWeights(weight, torch.zeros(outputs), isa, 1, split=False)] * 16
    out = torch.empty(1, height, width, outputs)
    taken = seconds(lambda: _native.upsample(weights, source, out, 0, 0, threads))
    return height * width * outputs * channels * TAPS / taken


def bandwidth(threads: int) -> float:
    """Bytes a second, read and written, of copying large features."""
    images = torch.zeros(1, 1024, 1024, COPIED // 4 // 2**20)
    canvas = _native.Canvas(1, *images.shape[1:])
    return 2 * COPIED / seconds(lambda: canvas.copy_from(images, threads))


def conv_row(
    case: str, channels: int, height: int, width: int, isa: str, threads: int, peak: float, bytes_a_second: float
):
    """One conv at all tiles against its floor."""
    source, out = (_native.Canvas(1, height, width, channels) for _ in range(2))
    weights = _native.TileWeights(torch.zeros(channels, channels, 3, 3), torch.zeros(channels), isa)
    tiles, scratch = _native.Positions.all(source.tiles), _native.Scratch()
    taken = seconds(lambda: _native.conv_tiles(weights, source, out, tiles, scratch, threads))
    multiply = source.tiles * POINTS * channels * channels / peak
    move = 2 * 4 * channels * height * width / bytes_a_second
    return {
        "case": case,
        "isa": isa,
        "ms": round(1e3 * taken, 2),
        "multiply_ms": round(1e3 * multiply, 2),
        "move_ms": round(1e3 * move, 2),
        "share_of_peak": round(max(multiply, move) / taken, 2),
        "effective_gflops": round(2 * 9 * source.pixels * channels**2 / taken / 1e9),
    }


def main() -> None:
    """Measure the machine, then the convs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    threads = parser.parse_args().threads
    moved = bandwidth(threads)
    machine, rows = {"gigabytes_a_second": round(moved / 1e9, 1)}, []
    for isa in _native.isas():
        if isa == "plain":
            continue
        peak = multiply_rate(isa, threads)
        machine[f"gflops_{isa}"] = round(2 * peak / 1e9)
        for case in CASES:
            rows.append(conv_row(*case, isa, threads, peak, moved))
            print(rows[-1])
    print(machine)
    print(json.dumps({"machine": machine, "rows": rows, **environment(threads)}))


if __name__ == "__main__":
    main()
