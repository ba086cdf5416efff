"""`python -m adadsr.training`, on a bare PyTorch machine too. `adadsr train` forwards its arguments to `parse`."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from adadsr.errors import AdaDSRError
from adadsr.storage import fetched
from adadsr.training.convs import CONVS
from adadsr.training.log import Entry, as_line
from adadsr.training.loop import Pace
from adadsr.training.session import Session, default_cache, train

DESCRIPTION = """
Train a network on a folder of HR images, from which LR images are made. The output folder gets the finished
model.safetensors, a log and a saved state; repeat an interrupted command to resume it.
"""
EPILOG = "On several devices: torchrun --nproc-per-node N -m adadsr.training RECIPE.yaml ..."


def main() -> None:
    """Train, and print entries as JSON lines."""
    try:
        train(parse(None, "python -m adadsr.training"), [_print])
    except KeyboardInterrupt:
        _end(130, "interrupted; repeat the command to resume")
    except AdaDSRError as error:
        _end(1, str(error))


def parse(arguments: Sequence[str] | None, prog: str) -> Session:
    """Options of a training from a command line; None is that of the process. Images of buckets are fetched.

    prog: name of the command in help and errors. Exits with status 0 after help, and with 2 for wrong usage. Raises
    AdaDSRError if a bucket cannot be read.
    """
    given = _parser(prog).parse_args(arguments)
    pace = Pace(given.every, given.look, given.minutes)
    return Session(
        given.recipe,
        fetched(given.train, given.cache),
        fetched(given.valid, given.cache),
        given.out,
        pace,
        given.cache,
        given.device,
        given.tensorboard,
        given.convs,
    )


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add, pace = parser.add_argument, Pace()
    add("recipe", type=_path, metavar="RECIPE", help="network and stages (YAML); see recipes/")
    what = "HR images to {} on: a folder or s3:// prefix, searched recursively"
    add("--train", type=_not_empty, metavar="DIR", required=True, help=what.format("train"))
    add("--valid", type=_not_empty, metavar="DIR", required=True, help=what.format("validate"))
    add("-o", "--out", type=_path, metavar="DIR", required=True, help="output folder for state, log and model")
    steps, default = _at_least_one, "[default: %(default)s]"
    add("--every", type=steps, metavar="STEPS", default=pace.every, help=f"steps between validations {default}")
    add("--look", type=steps, metavar="STEPS", default=pace.look, help=f"steps between progress reports {default}")
    add("--minutes", type=_not_negative, default=pace.minutes, help=f"minutes between saved states {default}")
    add("--cache", type=_path, metavar="DIR", default=default_cache(), help=f"cache folder for LR images {default}")
    add("--device", default="auto", help=f"torch device; auto picks CUDA if available {default}")
    add(
        "--convs",
        choices=CONVS,
        default=CONVS[0],
        help=f"what runs 3x3 convs; auto: native where it can {default}",
    )
    add("--tensorboard", action="store_true", help="write curves to OUT/board")
    return parser


def _end(status: int, message: str) -> NoReturn:
    print(f"adadsr: {message}", file=sys.stderr)
    sys.exit(status)


def _print(entry: Entry) -> None:
    print(as_line(entry), flush=True)


def _not_empty(text: str) -> str:
    """An option's value as a folder or address. An empty one would be the current folder, which nobody means."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; check the variable it comes from")
    return text


def _path(text: str) -> Path:
    return Path(_not_empty(text))


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
