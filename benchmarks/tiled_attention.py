"""How far a tiled RCAN is from the whole one: channel attention sees the means of a tile instead of the image's.

`python benchmarks/tiled_attention.py MODEL IMAGE...`: MODEL is a published checkpoint. The last line is JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.evaluation.results import describe_environment
from adadsr.metrics import psnr_rgb


def main() -> None:
    """Compare whole and tiled results at several sides of tiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 64, 32])
    arguments = parser.parse_args()
    model = checkpoints.read_published(arguments.model).model
    rows = []
    for tile in arguments.tiles:
        psnrs, largest = [], 0
        for path in arguments.images:
            picture = images.read_image(path)
            whole, tiled = (Upscaler(model, Execution(tile=side))(picture).image for side in (None, tile))
            if not np.array_equal(whole, tiled):
                psnrs.append(psnr_rgb(tiled, whole, 0))
            largest = max(largest, int(np.abs(whole.astype(int) - tiled).max()))
        psnr = round(float(np.mean(psnrs)), 1) if psnrs else None
        rows.append({"tile": tile, "psnr_against_whole": psnr, "largest_difference": largest})
        print(rows[-1])
    print(json.dumps({"rows": rows, "model": arguments.model.name, "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
