"""Number of active pixels above which a 4x4 tile runs whole, because the algorithm of tiles is then faster.

It decides which algorithm computes a pixel, and so its last bits, or in bfloat16 whether factors are rounded. It is a
constant of the instruction set unless this machine was measured (`adadsr backends --measure`), in which case
`native.json` in the cache folder contains it.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adadsr import __version__, atomic
from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import read_and_added_by
from adadsr.machine import cache_folder, processor_name

BREAK_EVEN = {
    "amx": {64: 3.3, 256: 3.4},
    "amx-bf16": {64: 1.5, 256: 1.5},
    "avx512": {64: 4.9, 256: 8.0},
    "avx2": {64: 4.5, 256: 5.8},
    "neon": {64: 4.5, 256: 5.8},
    "plain": {64: 1.0, 256: 1.2},
}
"""Instruction set -> channels -> pixels; other channels take the nearest. Medians of `measure`: AMX on an Intel Xeon,
the others on a Zen 4; NEON takes AVX2's until somebody measures it (dev/LOG.md)."""
FILE_NAME = "native.json"
SIDE = 128
"""Side of the benchmark image in pixels."""
RUNS = 4


class TileThreshold(NamedTuple):
    """pixels: number of active pixels above which a tile runs whole. measured: whether on this machine."""

    pixels: float
    measured: bool

    def __str__(self) -> str:
        return f"whole tiles above {self.pixels:.1f} pixels{' (measured)' if self.measured else ''}"


def tile_threshold(channels: int, isa: str, threads: int) -> TileThreshold:
    """The engine's threshold for convs of `channels` channels."""
    measured = _read().get(_key(channels, isa, threads))
    if measured is not None:
        return TileThreshold(measured, True)
    known = BREAK_EVEN[isa]
    return TileThreshold(known[min(known, key=lambda count: abs(count - channels))], False)


def measure(channels: int, isa: str, threads: int) -> float:
    """Measure the threshold on this machine, which should be idle, and store it in the file.

    Returns pixels. Raises OSError if the file cannot be written.
    """
    pixels = _measured(channels, isa, threads)
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(_read() | {_key(channels, isa, threads): pixels}, indent=1, sort_keys=True))
    return pixels


def cache_file() -> Path:
    """File with the thresholds of this machine."""
    return cache_folder() / FILE_NAME


def _key(channels: int, isa: str, threads: int) -> str:
    return f"{processor_name()} | {isa} | {threads} threads | {channels} channels | adadsr {__version__}"


def _read() -> dict[str, float]:
    """The valid thresholds in the file; none if it cannot be read."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # the last if there is no home folder
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: float(value) for key, value in content.items() if _is_threshold(value)}


def _is_threshold(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def _measured(channels: int, isa: str, threads: int) -> float:
    weight, bias = np.full((channels, channels, 3, 3), 0.01, np.float32), np.zeros(channels, np.float32)
    tile_weights, pixel_weights = _native.TileWeights(weight, bias, isa), _native.PixelWeights(weight, bias, isa)
    precision = read_and_added_by(tile_weights)
    source, out = (_native.Canvas(1, SIDE, SIDE, channels, precision) for _ in range(2))
    tiles, pixels = _native.Positions.all(source.tiles), _native.Positions.all(source.pixels)
    scratch = _native.Scratch()
    a_tile = _seconds(lambda: _native.conv_tiles(tile_weights, source, out, tiles, scratch, threads)) / len(tiles)
    a_pixel = _seconds(lambda: _native.conv_pixels(pixel_weights, source, out, pixels, threads)) / len(pixels)
    return a_tile / a_pixel


def _seconds(run: Callable[[], None]) -> float:
    """Minimum over a few runs: other load only makes runs longer."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
