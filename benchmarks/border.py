"""How far the outermost rows of a picture are off, with zeros beyond its border and continued by reflection.

`python benchmarks/border.py FOLDER [--models NAME...]`. Crops of the photos in FOLDER are upscaled; what is right is
the same place in the result for the whole photo. The last line is JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from adadsr import Execution, Upscaler, images
from adadsr.upscaler.frame import BORDERS

SIDE, MARGIN, MOST = 90, 40, 12
"""Side of a crop and its least distance from the photo's border, in pixels; number of photos."""


def outermost_error(upscaler: Upscaler, whole: np.ndarray, photo: np.ndarray) -> float:
    """Mean absolute difference of the four outermost lines of a crop from the middle, in gray levels."""
    top, left, scale = (photo.shape[0] - SIDE) // 2, (photo.shape[1] - SIDE) // 2, upscaler.scale
    crop = upscaler(photo[top : top + SIDE, left : left + SIDE]).image.astype(int)
    right = whole[top * scale : (top + SIDE) * scale, left * scale : (left + SIDE) * scale]
    difference = np.abs(crop - right)
    return float(np.mean([difference[0], difference[-1], difference[:, 0], difference[:, -1]]))


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=[f"adaedsr-baseline-x{scale}" for scale in (2, 3, 4)])
    arguments = parser.parse_args()
    photos = [images.read_image(path).pixels for path in sorted(arguments.folder.iterdir())]
    photos = [photo for photo in photos if min(photo.shape[:2]) >= SIDE + 2 * MARGIN][:MOST]
    rows = []
    for model in arguments.models:
        upscalers = {border: Upscaler.from_pretrained(model, Execution(border=border)) for border in BORDERS}
        wholes = [upscalers["zero"](photo).image.astype(int) for photo in photos]
        errors = {
            border: float(np.mean([outermost_error(upscaler, *pair) for pair in zip(wholes, photos, strict=True)]))
            for border, upscaler in upscalers.items()
        }
        print(model, *(f"{border} {error:.1f}" for border, error in errors.items()))
        rows.append({"model": model, "photos": len(photos), **errors})
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
