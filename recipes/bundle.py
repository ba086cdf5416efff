"""Put a trained network into the package.

`python recipes/bundle.py RECIPE.yaml out/model.safetensors --valid DIR --trained-on "which photos, which licence"`

Weights are stored as float16, as src/adadsr/bundled/<network>-x<scale>.safetensors, with the recipe and what the stored
weights reach on the validation photos (mean PSNR-Y) in the header.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from adadsr import checkpoints
from adadsr.checkpoints.sources import BUNDLED
from adadsr.datasets import load_pairs
from adadsr.training import Recipe, validate


def main() -> None:
    """Store, load again, measure, store with the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--trained-on", required=True, metavar="TEXT", help="photos and licences, for the header")
    arguments = parser.parse_args()
    recipe = Recipe.from_yaml(arguments.recipe)
    name = f"{recipe.network}-x{recipe.scale}"
    target = BUNDLED / f"{name}.safetensors"
    checkpoints.save(checkpoints.load(arguments.model), target, dtype=torch.float16)
    stored, pairs = checkpoints.load(target), load_pairs(arguments.valid, recipe.scale)
    figures = [
        f"{value:.2f} dB at full depth" if share == 1 else f"{value:.2f} at {share:.0%} of the body's cost"
        for share, value in validate(stored, pairs).items()
    ]
    metadata = {
        **checkpoints.read_header(arguments.model).metadata,
        "name": name,
        "licence": "Apache-2.0",
        "trained on": arguments.trained_on,
        "recipe": json.dumps(asdict(recipe)),
        "PSNR-Y on validation": ", ".join(figures),
    }
    checkpoints.save(stored, target, dtype=torch.float16, metadata=metadata)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; {metadata['PSNR-Y on validation']}")


if __name__ == "__main__":
    main()
