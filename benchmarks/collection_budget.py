"""One budget for a collection against the same budget for each image, in mean squared error.

`python benchmarks/collection_budget.py FOLDER... [--budget 0.5] [--model adaedsr-baseline-x2] [--bound]`. HR images are
reduced bicubically, upscaled at full depth, at the budget each, and at the least gains that `adadsr batch --shared`
would decide on, and compared with HR in Y. PSNR is that of the mean squared error over all pixels of all images. With
`--bound` they also run at several budgets, of which hindsight chooses each image's: no rule for whole images does
better. The last line is JSON.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from adadsr import Execution, Upscaler, images
from adadsr.cluster.decision import Sketches
from adadsr.cluster.sharing import SCHEMA, reference_of, sketch_of
from adadsr.evaluation.results import describe_environment
from adadsr.formats import is_image_file
from adadsr.metrics import luma
from adadsr.resize import bicubic_downscale
from adadsr.upscaler import Chain, Target


def read(path: Path, scale: int) -> np.ndarray:
    """An HR image in RGB, cut to a multiple of the scale."""
    pixels = images.read_image(path).pixels
    pixels = pixels.repeat(3, 2) if pixels.shape[2] == 1 else pixels[..., :3]
    height, width = (side // scale * scale for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])


class Pooled:
    """Squared error and cost over all images."""

    def __init__(self) -> None:
        self.pixels, self.dense = 0, 0.0
        self.errors: list[float] = []
        self.costs: list[float] = []
        self.psnrs: list[float] = []

    def add(self, sr: np.ndarray, hr: np.ndarray, shave: int, executed: float, dense: float) -> None:
        """Count an image."""
        inside = slice(shave, -shave), slice(shave, -shave)
        squared = np.square(luma(sr)[inside] - luma(hr)[inside])
        self.errors.append(float(squared.sum(dtype=np.float64)))
        self.costs.append(executed)
        self.pixels += squared.size
        self.psnrs.append(10 * math.log10(255**2 / max(float(squared.mean()), 1e-9)))
        self.dense += dense

    def as_json(self) -> dict[str, float]:
        """Rounded figures."""
        psnr = 10 * math.log10(255**2 * self.pixels / sum(self.errors))
        return {
            "psnr_of_mean_error": round(psnr, 4),
            "mean_psnr": round(float(np.mean(self.psnrs)), 4),
            "cost": round(sum(self.costs) / self.dense, 4),
        }


def bound(ways: list[Pooled], budget: float) -> Pooled:
    """The ways that hindsight chooses for each image, at most at a budget of all."""
    costs, errors = (np.array([getattr(way, name) for way in ways]).T for name in ("costs", "errors"))
    psnrs, best = np.array([way.psnrs for way in ways]).T, Pooled()
    best.pixels, best.dense = ways[0].pixels, ways[0].dense
    for weight in np.geomspace(1e-6, 1e6, 2000) * errors.sum() / costs.sum():
        chosen = (errors + weight * costs).argmin(1)[:, None]
        each = [np.take_along_axis(values, chosen, 1)[:, 0] for values in (costs, errors, psnrs)]
        if each[0].sum() <= budget * best.dense and (not best.errors or each[1].sum() < sum(best.errors)):
            best.costs, best.errors, best.psnrs = (list(values) for values in each)
    return best


def main() -> None:
    """Sketch, decide, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--bound", action="store_true")
    arguments = parser.parse_args()
    upscaler = Upscaler.from_pretrained(arguments.model)
    chain, scale, reference = Chain.of(upscaler), upscaler.scale, reference_of(Target(budget=arguments.budget))
    paths = [path for folder in arguments.folders for path in sorted(folder.iterdir()) if is_image_file(path)]
    hrs = [read(path, scale) for path in paths]
    pictures = [images.picture_from_array(bicubic_downscale(hr, scale)) for hr in hrs]
    sketches = Sketches(reference)
    for path, picture in zip(paths, pictures, strict=True):
        row = sketch_of(chain, picture, reference) | {"unit": 0, "name": str(path), "macs_per_second": None}
        sketches.add(pa.Table.from_pylist([row], schema=SCHEMA))
    decision = sketches.for_target(Target(budget=arguments.budget))
    least_gains = sketches.least_gains(decision)
    prepared = [chain.prepare(picture) for picture in pictures]
    ways = {"full": Target(), "each": Target(budget=arguments.budget), "shared": Target()}
    tried = np.linspace(0.36, 1, 9) if arguments.bound else ()
    least = max(each.least_budget for each in prepared)
    ways |= {f"at {budget:.2f}": Target(budget=max(float(budget), least)) for budget in tried}
    pooled = {way: Pooled() for way in ways}
    for path, hr, each in zip(paths, hrs, prepared, strict=True):
        for way, target in (ways | {"shared": Target(least_gain=least_gains[str(path)])}).items():
            upscaled = each.run(each.plan(**vars(target)))
            report = upscaled.report
            pooled[way].add(upscaled.image, hr, scale, report.executed_gmacs, report.dense_gmacs)
    if arguments.bound:
        pooled["bound"] = bound([pooled[way] for way in ways], arguments.budget)
    rows = {way: figures.as_json() for way, figures in pooled.items()}
    for way, row in rows.items():
        print(f"{way:7} {row}")
    gain = rows["shared"]["psnr_of_mean_error"] - rows["each"]["psnr_of_mean_error"]
    print(f"one budget for all brings {gain:+.4f} dB over {len(paths)} images")
    result = {"rows": rows, "gain": round(gain, 4), "images": len(paths), "budget": arguments.budget}
    result |= {"decision": decision.as_json(), "model": arguments.model}
    print(json.dumps(result | {"environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
