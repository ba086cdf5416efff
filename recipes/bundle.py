"""Put a trained network into the package, as src/adadsr/bundled/<family>-x<scale>.safetensors.

`python recipes/bundle.py RECIPE.yaml out/model.safetensors --valid DIR --summary TEXT --trained-on TEXT`

Weights are stored as float16. The header gets what `adadsr models` shows: quality, the mean PSNR-Y in dB on the
validation photos at full size for each percentage of the body that runs, a summary, the licence, the training data,
the recipe, and notices that licences of the network's ancestors ask for.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from adadsr import checkpoints
from adadsr.checkpoints import sources
from adadsr.datasets import Pair
from adadsr.errors import AdaDSRError
from adadsr.networks import Model
from adadsr.training import Recipe, default_cache, validate
from adadsr.training.validation import as_jpeg, load_valid

LICENCE = "Apache-2.0"
LONGEST_SUMMARY = 34
"""Characters that fit the table of `adadsr models`."""


def main() -> None:
    """Round the weights, measure them, store them with the figures."""
    parser = argparse.ArgumentParser(description="Put a trained network into the package")
    add = parser.add_argument
    add("recipe", type=Path)
    add("model", type=Path)
    add("--valid", type=Path, metavar="DIR", required=True, help="HR images to measure on")
    add("--summary", type=_summary, metavar="TEXT", required=True, help=f"at most {LONGEST_SUMMARY} characters")
    add("--trained-on", metavar="TEXT", required=True, help="photos and their licences")
    add("--start", metavar="TEXT", help="the network that the run started from [default: start_from of the recipe]")
    add("--notice", metavar="TEXT", action="append", default=[], help="licence notice to pass on; repeatable")
    add("--family", metavar="NAME", help="the name without its scale [default: network of the recipe]")
    given = parser.parse_args()
    try:
        _bundle(given)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")


def _bundle(given: argparse.Namespace) -> None:
    recipe, trained = Recipe.from_yaml(given.recipe), checkpoints.load(given.model)
    model = Model(trained.config, {name: _rounded(value) for name, value in trained.tensors.items()})
    pairs = load_valid(given.valid, trained.config, default_cache())
    name = f"{given.family or recipe.network}-x{recipe.scale}"
    start = given.start or recipe.start_from
    hours = checkpoints.read_header(given.model).metadata.get("hours of training", "")
    metadata = {
        "name": name,
        "summary": given.summary,
        "licence": LICENCE,
        "quality": _quality(model, pairs),
        "trained on": given.trained_on,
        "start": start,
        "hours of training": hours,
        "recipe": json.dumps(asdict(replace(recipe, start_from=start))),  # a path says nothing elsewhere
        "notices": "\n".join(given.notice),
    }
    target = sources.BUNDLED / f"{name}.safetensors"
    if recipe.valid_jpeg:
        compressed = [as_jpeg(pair, recipe.valid_jpeg) for pair in pairs]
        metadata[f"quality, JPEG {recipe.valid_jpeg}"] = _quality(model, compressed)
    stated = {key: value for key, value in metadata.items() if value}
    checkpoints.save(model, target, dtype="float16", metadata=stated)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {metadata['quality']}")


def _rounded(value: np.ndarray) -> np.ndarray:
    """A tensor as it will be after storage."""
    return value.astype(np.float16).astype(np.float32)


def _quality(model: Model, pairs: list[Pair]) -> str:
    """Percentage of the body -> mean PSNR-Y in dB, as JSON."""
    return json.dumps({f"{100 * share:.0f}": round(value, 2) for share, value in validate(model, pairs).items()})


def _summary(text: str) -> str:
    if not 0 < len(text) <= LONGEST_SUMMARY:
        raise argparse.ArgumentTypeError(f"has {len(text)} characters; use 1 to {LONGEST_SUMMARY}")
    return text


if __name__ == "__main__":
    main()
