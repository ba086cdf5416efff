"""Rewrites a dense EDSR so that usual learning rates fit: the same function, with features of usual size.

`python recipes/balance.py IN OUT`. A network that was trained on images in -1..1 gets a head with weights 100 times
smaller than those of a network trained on 0..255, once its range is folded in. Adam and Muon move every weight by about
the learning rate, so a few steps destroy such a head. Here features become larger and the last conv of the tail
smaller: ReLU lets every factor above 0 pass.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from adadsr import checkpoints
from adadsr.errors import AdaDSRError, InputError
from adadsr.networks import Model

HEAD, UPSAMPLE = 0.08, 0.02
"""Mean absolute weights of the head and of the convs before PixelShuffle, as in networks that were trained here."""


def main() -> None:
    """Read, rewrite, write."""
    parser = argparse.ArgumentParser(description="Rewrite a dense EDSR such that learning rates fit")
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    try:
        checkpoints.save(balanced(checkpoints.load_model(given.model)), given.out)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")


def balanced(model: Model) -> Model:
    """The same function by other weights. Raises InputError for another network than a dense EDSR."""
    if model.config.backbone != "edsr" or model.config.adaptive:
        raise InputError(f"{model.config.kind} is not a dense EDSR; pass one")
    tensors = {name: np.array(value, np.float32) for name, value in model.tensors.items()}
    factor = HEAD / _size(tensors["head.conv.weight"])
    for name in tensors:
        if name.startswith("head.") or (name.startswith("body.") and name.endswith(".bias")):
            tensors[name] *= factor
    # The tail has no activation, so a factor of each of its convs passes on to the next.
    for conv in sorted({name.rpartition(".")[0] for name in tensors if name.startswith("tail.upsample.")}):
        own = UPSAMPLE / _size(tensors[f"{conv}.weight"])
        factor *= own
        tensors[f"{conv}.weight"] *= own
        tensors[f"{conv}.bias"] *= factor
    tensors["tail.conv.weight"] /= factor
    return replace(model, tensors=tensors)


def _size(weight: np.ndarray) -> float:
    return float(np.abs(weight).mean())


if __name__ == "__main__":
    main()
