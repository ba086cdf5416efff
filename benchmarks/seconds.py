"""How exactly `--seconds` is met: time of runs over the requested time, on crops of photos.

    python benchmarks/seconds.py [--photos FOLDER] [--count N] [--threads 2] [--scale 2] [--measure] [--cpu-time]

Needs an idle machine: runs whose threads waited for a processor (Linux tells) for more than a twentieth of their time
are counted apart, as disturbed. On a machine that is not idle, `--cpu-time` takes the processor's time on one thread
instead of the clock. `--planned-only` lets runs keep to their plan instead of the time. The last line is JSON; `p90` is
the error that nine of ten runs stay below.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adadsr import images
from adadsr.upscaler import Chain, Execution, Size, Upscaler, measuring, timing
from adadsr.upscaler.pacing import Pacer

ASSETS = Path(__file__).parents[1] / "assets"
CROPS = ((128, 128), (200, 320), (400, 300))
SHARES = (0.45, 0.6, 0.75, 0.9)
"""Of the expected time at full depth."""
DISTURBED = 0.05
"""Share of its time that a run's threads may wait for a processor."""


def waited() -> float:
    """Seconds that threads of this process were ready to run and had no processor; 0 where the system does not tell."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return 0.0
    return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks.iterdir()) / 1e9


def summary(errors: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of relative errors; empty without any."""
    if not len(errors):
        return {"runs": 0}
    absolute = np.abs(errors)
    figures = {"median": np.median(errors), "p90": np.quantile(absolute, 0.9), "most": absolute.max()}
    return {"runs": len(errors), **{name: round(float(value), 3) for name, value in figures.items()}}


def main() -> None:
    """Run all crops of all photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ASSETS)
    parser.add_argument("--count", type=int, help="photos; all by default")
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--scale", type=float, help="another than the model's, by a chain and a reduction")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--measure", action="store_true", help="measure the machine first")
    parser.add_argument("--planned-only", action="store_true", help="do not look at the clock during a run")
    parser.add_argument("--cpu-time", action="store_true", help="time of the processor on one thread")
    options = parser.parse_args()
    if options.cpu_time:
        options.threads, time.perf_counter = 1, time.process_time
    if options.planned_only:
        Pacer.__call__ = lambda self, begun: None  # type: ignore[method-assign]
    upscaler = Upscaler.from_pretrained(options.model, Execution(threads=options.threads))
    if options.measure:
        measuring.measure(upscaler)
    chain = Chain(lambda scale: upscaler, [upscaler.scale], Size(scale=options.scale or upscaler.scale))
    errors, waits = [], []
    files = [path for path in sorted(options.photos.iterdir()) if path.suffix in images.SUPPORTED_SUFFIXES]
    for path in files[: options.count]:
        pixels = images.read_image(path).pixels[..., :3]
        for height, width in CROPS:
            picture = images.picture_from_array(np.ascontiguousarray(pixels[:height, :width]))
            steps = chain.prepare(picture).outlook.steps
            model = timing.known(steps[0])
            if model is None:
                parser.error("this machine was not measured; pass --measure")
            full = sum(model.seconds(step, 1.0) for step in steps)
            for share in SHARES:
                before = waited()
                took = chain(picture, seconds=share * full).report.seconds
                errors.append(took / (share * full) - 1)
                waits.append(0.0 if options.cpu_time else (waited() - before) / took)
    found, quiet = np.array(errors), np.array(waits) <= DISTURBED
    rows = {"idle": summary(found[quiet]), "disturbed": summary(found[~quiet])}
    print(json.dumps({"model": vars(model), "photos": len(files[: options.count]), **rows}))


if __name__ == "__main__":
    main()
