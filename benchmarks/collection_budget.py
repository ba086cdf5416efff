"""One budget for a collection against the same budget for each image, in mean squared error.

`python benchmarks/collection_budget.py FOLDER... [--budget 0.5 0.35] [--model NAME] [--most N] [--bound]`.
HR images are reduced bicubically, upscaled at full depth, at each budget, and at the least gains that `adadsr batch
--shared` would decide on, and compared with HR in Y. PSNR is that of the mean squared error over all pixels of all
images. With `--most`, only so many of a folder's images run, evenly spaced. With `--bound` they also run at several
budgets, of which hindsight chooses each image's: no rule for whole images does better. The last line is JSON.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from adadsr import Execution, Upscaler, images
from adadsr.cluster.decision import Decision, Sketches
from adadsr.cluster.sharing import SCHEMA, reference_of, sketch_of
from adadsr.errors import BudgetError
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


def paths_of(folder: Path, most: int | None) -> list[Path]:
    """Images below a folder, at most `most` of them, evenly spaced."""
    found = [path for path in sorted(folder.rglob("*")) if is_image_file(path)]
    if not found:
        raise SystemExit(f"{folder}: no images here")
    return found if most is None or most >= len(found) else [found[at * len(found) // most] for at in range(most)]


class Image:
    """An HR image and its LR picture."""

    def __init__(self, path: Path, chain: Chain, scale: int) -> None:
        self.name, self._chain, self._scale = str(path), chain, scale
        self.hr = read(path, scale)
        self.lr = images.picture_from_array(bicubic_downscale(self.hr, scale))

    def run(self, targets: dict[str, Target], pooled: dict[str, Pooled]) -> None:
        """Count what each target gives; head and adapter run once for all of them."""
        prepared = self._chain.prepare(self.lr)
        for way, target in targets.items():
            if target.budget is not None:
                target = Target(budget=max(target.budget, prepared.least_budget))
            upscaled = prepared.run(prepared.plan(**vars(target)))
            report = upscaled.report
            pooled.setdefault(way, Pooled()).add(
                upscaled.image, self.hr, self._scale, report.executed_gmacs, report.dense_gmacs
            )


def decide(chain: Chain, collection: list[Image], budget: float) -> tuple[Decision, dict[str, float]]:
    """The least gain of each image for a budget of all. Raises BudgetError if that is too small."""
    reference = reference_of(Target(budget=budget))
    sketches = Sketches(reference)
    for each in collection:
        row = sketch_of(chain, each.lr, reference) | {"unit": 0, "name": each.name, "macs_per_second": None}
        sketches.add(pa.Table.from_pylist([row], schema=SCHEMA))
    decision = sketches.for_target(Target(budget=budget))
    return decision, {name: decision.least_gain / factor for name, factor in sketches.factors.items()}


def main() -> None:
    """Sketch, decide, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--budget", type=float, nargs="+", default=[0.5])
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--most", type=int)
    parser.add_argument("--bound", action="store_true")
    arguments = parser.parse_args()
    upscaler = Upscaler.from_pretrained(arguments.model)
    chain, scale = Chain.of(upscaler), upscaler.scale
    paths = [path for folder in arguments.folders for path in paths_of(folder, arguments.most)]
    collection = [Image(path, chain, scale) for path in paths]
    decisions: dict[float, tuple[Decision, dict[str, float]]] = {}
    for budget in arguments.budget:
        try:
            decisions[budget] = decide(chain, collection, budget)
        except BudgetError as error:
            print(f"left out: {error}")
    tried = {f"at {budget:.2f}": Target(budget=float(budget)) for budget in np.linspace(0.14, 0.98, 13)}
    fixed = {"full": Target()} | {f"{budget:g} each": Target(budget=budget) for budget in decisions}
    pooled: dict[str, Pooled] = {}
    for each in collection:
        shared = {f"{budget:g} shared": Target(least_gain=gains[each.name]) for budget, (_, gains) in decisions.items()}
        each.run(fixed | shared | (tried if arguments.bound else {}), pooled)
    if arguments.bound:
        ways = [figures for way, figures in pooled.items() if not way.endswith("shared")]
        pooled |= {f"{budget:g} bound": bound(ways, budget) for budget in decisions}
    rows = {way: figures.as_json() for way, figures in pooled.items()}
    for way, row in rows.items():
        print(f"{way:12} {row}")
    gains = {}
    for budget in decisions:
        each, shared = (rows[f"{budget:g} {way}"]["psnr_of_mean_error"] for way in ("each", "shared"))
        gains[budget] = round(shared - each, 4)
        print(f"one budget of {budget:g} for all brings {gains[budget]:+.4f} dB over {len(paths)} images")
    result = {"model": arguments.model, "images": len(paths), "gains": gains, "rows": rows}
    result |= {"decisions": {budget: decision.as_json() for budget, (decision, _) in decisions.items()}}
    print(json.dumps(result | {"environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
