"""How exactly `--seconds` is met: time of runs over the requested time, on crops of photos.

    python benchmarks/seconds.py [--photos FOLDER] [--threads 2] [--measure] [--cpu-time]

Needs an idle machine, or --cpu-time. The last line is JSON; `p90` is the error that nine of ten runs stay below.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from adadsr import images
from adadsr.upscaler import Execution, Upscaler, measuring, timing

ASSETS = Path(__file__).parents[1] / "assets"
CROPS = ((128, 128), (200, 320), (400, 300))
SHARES = (0.45, 0.6, 0.75, 0.9)
"""Of the expected time at full depth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ASSETS)
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--measure", action="store_true", help="measure the machine first")
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of the processor on one thread, for machines that are not idle"
    )
    options = parser.parse_args()
    if options.cpu_time:
        options.threads, time.perf_counter = 1, time.process_time
    upscaler = Upscaler.from_pretrained(options.model, Execution(threads=options.threads))
    if options.measure:
        measuring.measure(upscaler)
    errors = []
    files = [path for path in sorted(options.photos.iterdir()) if path.suffix in images.SUPPORTED_SUFFIXES]
    for path in files:
        pixels = images.read_image(path).pixels[..., :3]
        for height, width in CROPS:
            picture = images.picture_from_array(np.ascontiguousarray(pixels[:height, :width]))
            (step,) = upscaler.prepare(picture, score=False).outlook.steps
            model = timing.known(step)
            if model is None:
                parser.error("this machine was not measured; pass --measure")
            for share in SHARES:
                wanted = share * model.seconds(step, 1.0)
                took = upscaler(picture, seconds=wanted).report.seconds
                errors.append(took / wanted - 1)
    absolute = np.abs(errors)
    print(
        json.dumps(
            {
                "model": vars(model),
                "runs": len(errors),
                "median": float(np.median(errors)),
                "p90": float(np.quantile(absolute, 0.9)),
                "most": float(absolute.max()),
            }
        )
    )


if __name__ == "__main__":
    main()
