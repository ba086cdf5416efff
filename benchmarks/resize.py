"""Time of MATLAB's bicubic on one core, in megapixels of input a second.

`python benchmarks/resize.py [--height 2160] [--width 3840] [--repeats 15]`

First it proves equality with the exact rule in integers on the same image; then `bicubic_downscale` takes turns with
`imresize` and with Pillow's bicubic, which has the same kernel but another border and rounding. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from PIL import Image

from adadsr import Execution
from adadsr.evaluation.results import describe_environment
from adadsr.resize import bicubic_downscale, imresize

WEIGHTS_BY_2 = (-3, -9, 29, 111, 111, 29, -9, -3)  # / 256


def shrunk_by_2(image: np.ndarray) -> np.ndarray:
    """The rule in integers, for even sides: mirrored borders, a pass along H, then one along W."""
    for axis in (0, 1):
        size = image.shape[axis]
        pad = [(0, 0)] * image.ndim
        pad[axis] = (3, 3)
        padded = np.moveaxis(np.pad(image.astype(np.int64), pad, "symmetric"), axis, 0)
        sums = sum(weight * padded[k : k + size : 2] for k, weight in enumerate(WEIGHTS_BY_2))
        image = np.moveaxis(((sums + 128) // 256).clip(0, 255), 0, axis)
    return image.astype(np.uint8)


def peers(image: np.ndarray) -> dict[str, Callable[[], object]]:
    """Name -> what is timed."""
    height, width = image.shape[:2]
    picture, floats = Image.fromarray(image), image.astype(np.float32)
    return {
        "downscale_2": lambda: bicubic_downscale(image, 2),
        "downscale_3": lambda: bicubic_downscale(image, 3),
        "downscale_4": lambda: bicubic_downscale(image, 4),
        "floats_2": lambda: imresize(floats, 0.5),
        "pillow_2": lambda: picture.resize((width // 2, height // 2), Image.Resampling.BICUBIC),
    }


def main() -> None:
    """Prove equality, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=2160)
    parser.add_argument("--width", type=int, default=3840)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 256, (options.height, options.width, 3), np.uint8)
    np.testing.assert_array_equal(bicubic_downscale(image, 2), shrunk_by_2(image))

    runs = peers(image)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(options.repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first turn warms up
                seconds[name].append(time.perf_counter() - start)

    megapixels = options.height * options.width / 1e6
    rates = {name: statistics.quantiles([megapixels / s for s in taken], n=4) for name, taken in seconds.items()}
    print(f"{options.width}x{options.height} RGB uint8, 1 thread, {options.repeats} repeats")
    for name, (low, median, high) in rates.items():
        print(f"{name:12} {median:7.1f} megapixels/s (quartiles {low:.1f} to {high:.1f})")
    report = {name: {"median": r[1], "quartiles": [r[0], r[2]]} for name, r in rates.items()}
    environment = describe_environment(Execution()) | {"pillow": version("pillow")}
    print(json.dumps({"megapixels_per_second": report, "environment": environment}))


if __name__ == "__main__":
    main()
