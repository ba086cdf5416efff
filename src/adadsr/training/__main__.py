"""`python -m adadsr.training RECIPE.yaml --train DIR --valid DIR --out DIR`, on a bare PyTorch machine too."""

import argparse
import math
from pathlib import Path

from adadsr.errors import AdaDSRError
from adadsr.training.log import Entry, as_line
from adadsr.training.loop import Pace
from adadsr.training.session import Session, default_cache, train


def main() -> None:
    """The command line; see the module's docstring. `torchrun -m adadsr.training ...` runs it on several devices."""
    parser = argparse.ArgumentParser(prog="adadsr.training", description="Train a network of adadsr")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="folder of HR images, searched recursively")
    parser.add_argument("--valid", type=Path, required=True, help="folder of HR images for validation")
    parser.add_argument("--out", type=Path, required=True, help="folder for state, log and result")
    parser.add_argument("--every", type=_at_least_one, default=Pace.every, help="steps between validations")
    parser.add_argument("--look", type=_at_least_one, default=Pace.look, help="steps between looks at the loss")
    parser.add_argument("--minutes", type=_not_negative, default=Pace.minutes, help="minutes between saved states")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder where LR images are kept")
    parser.add_argument("--device", default="auto", help="torch's name of a device; auto: CUDA where there is one")
    parser.add_argument("--tensorboard", action="store_true", help="write curves to OUT/board")
    given = parser.parse_args()
    pace = Pace(given.every, given.look, given.minutes)
    session = Session(
        given.recipe, given.train, given.valid, given.out, pace, given.cache, given.device, given.tensorboard
    )
    try:
        train(session, [_print])
    except KeyboardInterrupt:
        parser.exit(130, "adadsr: interrupted; the same command goes on from the last state\n")
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")


def _print(entry: Entry) -> None:
    print(as_line(entry), flush=True)


def _at_least_one(text: str) -> int:
    """An option's value as a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _not_negative(text: str) -> float:
    """An option's value as a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


if __name__ == "__main__":
    main()
