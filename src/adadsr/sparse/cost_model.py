"""Which of the native engine's two algorithms is cheaper here: measured once on a machine, and kept in a file.

The file is `native.json` in the folder that ADADSR_CACHE_DIR names, or else in `adadsr` of the user's caches. One that
cannot be read, or that holds something else, is measured again and replaced.
"""

import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from adadsr import __version__, atomic
from adadsr.caches import cache_folder
from adadsr.sparse import _native

FOLDER_VARIABLE = "ADADSR_CACHE_DIR"
SIDE = 48
"""Pixels along the image that is measured."""
RUNS = 4


@cache
def tile_worth(channels: int, isa: str, threads: int) -> float:
    """How many single pixels take as long as a whole tile; `tile_worth.cache_clear` forgets what this process knows."""
    key = _key(channels, isa, threads)
    known = _read()
    return known[key] if key in known else measure(channels, isa, threads)


def measure(channels: int, isa: str, threads: int) -> float:
    """Measure it, and write it into the file."""
    worth = _measured(channels, isa, threads)
    try:
        path = cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(_read() | {_key(channels, isa, threads): worth}, indent=1, sort_keys=True))
    except (OSError, RuntimeError) as error:
        logging.getLogger(__name__).info("no figure can be kept (%s): the next process measures again", error)
    return worth


def cache_file() -> Path:
    """Where the figures are kept."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder) / "native.json"
    return cache_folder() / "native.json"


def _key(channels: int, isa: str, threads: int) -> str:
    return f"{_processor()} | {isa} | {threads} threads | {channels} channels | adadsr {__version__}"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _read() -> dict[str, float]:
    """The figures of the file that make sense; none where it cannot be read."""
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # the last where nobody has a home folder
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: float(value) for key, value in content.items() if _is_worth(value)}


def _is_worth(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def _measured(channels: int, isa: str, threads: int) -> float:
    weight, bias = torch.full((channels, channels, 3, 3), 0.01), torch.zeros(channels)
    source, out = (_native.Canvas(1, SIDE, SIDE, channels) for _ in range(2))
    tiles, pixels = _native.Positions.all(source.tiles), _native.Positions.all(source.pixels)
    tile_weights, pixel_weights = _native.TileWeights(weight, bias, isa), _native.PixelWeights(weight, bias, isa)
    scratch = _native.Scratch()
    a_tile = _seconds(lambda: _native.conv_tiles(tile_weights, source, out, tiles, scratch, threads)) / len(tiles)
    a_pixel = _seconds(lambda: _native.conv_pixels(pixel_weights, source, out, pixels, threads)) / len(pixels)
    return a_tile / a_pixel


def _seconds(run: Callable[[], None]) -> float:
    """The shortest of a few runs: what the machine does beside makes others longer."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
