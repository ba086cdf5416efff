"""How much networks change plain areas: `python benchmarks/plain_areas.py MODEL... [--budgets 1 0.75 0.6]`.

Pictures of one colour, 125 of 16x16 pixels and 600 of random sides up to 30, and the plain areas of 40 drawings of
96x96: ellipses, a line and a word on plain grounds, no edge within 8 pixels. Seeds are fixed. Prints how many pictures
change by more than one level, which share of the drawings' area by more than two, and the largest changes. The last
line is JSON.
"""

import argparse
import itertools
import json
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from adadsr import Execution, Upscaler
from adadsr.evaluation.results import describe_environment

LEVELS = (0, 64, 128, 192, 255)
DRAWINGS, SIDE, FAR = 40, 96, 8
RANDOM, LONGEST = 600, 30


class Plain(NamedTuple):
    """How many pictures are off, their largest change, the share of drawings' plain area that is off, its change."""

    pictures: int
    change: int
    area: float
    area_change: int


def one_colour() -> list[np.ndarray]:
    """Pictures (H, W, 3), uint8."""
    random = np.random.default_rng(0)
    grid = [np.full((16, 16, 3), color, np.uint8) for color in itertools.product(LEVELS, repeat=3)]
    sides = random.integers(1, LONGEST + 1, (RANDOM, 2))
    return grid + [np.full((*side, 3), random.integers(0, 256, 3), np.uint8) for side in sides]


def drawings() -> list[np.ndarray]:
    """Pictures (H, W, 3), uint8, without smoothed edges."""
    random = np.random.default_rng(1)
    return [_drawing(random) for _ in range(DRAWINGS)]


def _drawing(random: np.random.Generator) -> np.ndarray:
    def color() -> tuple[int, ...]:
        return tuple(int(value) for value in random.integers(0, 256, 3))

    picture = Image.new("RGB", (SIDE, SIDE), color())
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    for _ in range(2):
        left, top = random.integers(0, SIDE // 2, 2)
        width, height = random.integers(SIDE // 4, SIDE // 2, 2)
        draw.ellipse([left, top, left + width, top + height], fill=color(), outline=color(), width=2)
    draw.line([tuple(point) for point in random.integers(0, SIDE, (2, 2)).tolist()], fill=color(), width=2)
    draw.text(tuple(random.integers(0, SIDE // 2, 2).tolist()), "plain", fill=color())
    return np.asarray(picture)


def plain_of(picture: np.ndarray) -> np.ndarray:
    """Where (H, W) all pixels within FAR pixels have one colour. Beyond the border the picture is reflected."""
    padded = np.pad(picture, ((FAR, FAR), (FAR, FAR), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * FAR + 1, 2 * FAR + 1), axis=(0, 1))
    return np.asarray((np.ptp(windows, axis=(-2, -1)) == 0).all(-1))


def measure(upscaler: Upscaler, budget: float | None) -> Plain:
    """One network at one budget; None is a dense network's."""
    changes = [_change(upscaler, picture, budget).max() for picture in one_colour()]
    off, area, largest = 0, 0, 0
    for picture in drawings():
        change = _change(upscaler, picture, budget)
        scale = change.shape[0] // SIDE
        inside = change[plain_of(picture).repeat(scale, 0).repeat(scale, 1)]
        off, area = off + int((inside > 2).sum()), area + inside.size
        largest = max(largest, int(inside.max(initial=0)))
    return Plain(sum(int(change) > 1 for change in changes), int(max(changes)), off / area, largest)


def _change(upscaler: Upscaler, picture: np.ndarray, budget: float | None) -> np.ndarray:
    """Largest change (H, W) of a channel, in levels, against the picture with each pixel repeated."""
    result = upscaler(picture, budget=budget)
    scale = result.report.scale
    return np.asarray(np.abs(result.image.astype(int) - picture.repeat(scale, 0).repeat(scale, 1)).max(-1))


def main() -> None:
    """Print a line per network and budget."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--budgets", nargs="+", type=float, default=[1.0, 0.75, 0.6])
    given = parser.parse_args()
    rows = []
    for name in given.models:
        upscaler = Upscaler.from_pretrained(name)
        for budget in given.budgets if upscaler.config.adaptive else [None]:
            found = measure(upscaler, budget)
            rows.append({"model": name, "budget": budget} | found._asdict())
            print(
                f"{name} at {budget or 1:g}: {found.pictures} of {RANDOM + len(LEVELS) ** 3} pictures of one colour "
                f"change by more than 1 level, {found.change} at most; {found.area:.3%} of drawings' plain area by "
                f"more than 2, {found.area_change} at most",
                flush=True,
            )
    print(json.dumps({"rows": rows, "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
