"""Fidelity of an adapted network to the dense one's full output, against cost, on photos of a folder.

`python benchmarks/adapted.py DENSE ADAPTED PHOTOS [--count 20] [--device cpu]`

Of each photo the middle is upscaled, at most 128x128 pixels; photos take turns at full, half and a quarter of their
size. Compared are depth maps, one depth everywhere, and the dense network cut off. The last line is JSON.
"""

import argparse
import json
from pathlib import Path

from adadsr import checkpoints
from adadsr.adaptation.fidelity import measure
from adadsr.adaptation.photos import Photo, held_crop
from adadsr.adaptation.report import report_content, table
from adadsr.adaptation.targets import pair_of
from adadsr.backends import prepare
from adadsr.formats import is_image_file
from adadsr.images import read_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dense")
    parser.add_argument("adapted")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    dense, adapted = checkpoints.load_model(given.dense), checkpoints.load_model(given.adapted)
    engine = prepare(dense.weights(), device=given.device)
    paths = sorted(path for path in given.photos.rglob("*") if is_image_file(path))
    step = max(1, len(paths) // given.count)
    pairs = []
    for index, path in enumerate(paths[::step][: given.count]):
        photo = Photo(path, "", *read_size(path))
        pairs.append(pair_of(engine, held_crop(photo, index, engine.network.square)))
    figures = measure(dense, adapted, pairs, given.device)
    print(table(figures))
    print(json.dumps(report_content(figures, checkpoints.model_name(given.adapted))))


if __name__ == "__main__":
    main()
