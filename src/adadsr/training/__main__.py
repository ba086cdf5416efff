"""`python -m adadsr.training RECIPE.yaml --train DIR --valid DIR --out DIR`, on a bare PyTorch machine too."""

import argparse
from pathlib import Path

import torch

from adadsr.datasets import load_pairs
from adadsr.errors import AdaDSRError
from adadsr.training.loop import run
from adadsr.training.recipe import Recipe
from adadsr.training.trainer import Trainer


def main() -> None:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="adadsr.training", description="Train a network of adadsr")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="folder of HR images, searched recursively")
    parser.add_argument("--valid", type=Path, required=True, help="folder of HR images for validation")
    parser.add_argument("--out", type=Path, required=True, help="folder for the resumable state and the result")
    parser.add_argument("--every", type=_at_least_one, default=250, help="steps between states and validations")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        recipe = Recipe.from_yaml(arguments.recipe)
        trainer = Trainer(recipe, load_pairs(arguments.train, recipe.scale), device)
        run(trainer, load_pairs(arguments.valid, recipe.scale), arguments.out, every=arguments.every)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")


def _at_least_one(text: str) -> int:
    """An option's value as a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    main()
