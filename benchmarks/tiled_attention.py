"""How far tiles are from the whole image where they are not exact: channel attention, and the long reach of ESRGAN.

`python benchmarks/tiled_attention.py MODEL IMAGE... [--tiles SIDE...] [--budget B]`: MODEL is a file of ours or a
published checkpoint. With a budget, tiles take the depth map of the whole image. Differences are in levels of 0..255;
`p99_9` is what one sample in a thousand exceeds. The last line is JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.errors import AdaDSRError
from adadsr.evaluation.results import describe_environment
from adadsr.images import Picture, Pixels
from adadsr.metrics import psnr_rgb
from adadsr.networks import Model


def open_model(path: Path) -> Model:
    """A model of ours, otherwise of a published checkpoint."""
    try:
        return checkpoints.load_model(str(path))
    except AdaDSRError:
        return checkpoints.read_published(path).model


def both(model: Model, picture: Picture, side: int, budget: float | None) -> tuple[Pixels, Pixels]:
    """The whole result, and that of tiles at the same depth map."""
    prepared, tiled = (Upscaler(model, Execution(tile=each)).prepare(picture) for each in (None, side))
    plan = prepared.plan(budget=budget)
    return prepared.run(plan).image, tiled.run(tiled.plan(depth_map=plan.depth_map)).image


def main() -> None:
    """Compare whole and tiled results at several sides of tiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 64, 32])
    parser.add_argument("--budget", type=float)
    arguments = parser.parse_args()
    model = open_model(arguments.model)
    rows = []
    for tile in arguments.tiles:
        psnrs, largest, common = [], 0, 0.0
        for path in arguments.images:
            picture = images.read_image(path)
            whole, tiled = both(model, picture, tile, arguments.budget)
            if not np.array_equal(whole, tiled):
                psnrs.append(psnr_rgb(tiled, whole, 0))
            difference = np.abs(whole.astype(int) - tiled)
            largest = max(largest, int(difference.max()))
            common = max(common, float(np.percentile(difference, 99.9)))
        psnr = round(float(np.mean(psnrs)), 1) if psnrs else None
        rows.append({"tile": tile, "psnr_against_whole": psnr, "largest_difference": largest, "p99_9": common})
        print(rows[-1])
    print(json.dumps({"rows": rows, "model": arguments.model.name, "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
