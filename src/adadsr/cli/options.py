"""Options that several subcommands share, and how their values are read. A wrong value is wrong usage: status 2."""

import re
from typing import Annotated, TypeAlias

import typer

_SCALES = (2, 3, 4)  # models.config.SCALES, without importing torch
_PRECISIONS = ("float32", "float16", "bfloat16")  # upscaler.report.PRECISIONS, without importing torch
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([KMGT]?)(I?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(text: str) -> int:
    """Bytes in a size such as `4G`, `800M`, `1.5GiB` or `2000000`; K, M, G and T are powers of 1024."""
    return _parse_size(text, 1024, "a size of memory such as 4G or 800M")


def parse_pixels(text: str) -> int:
    """Pixels in a count such as `400M` or `400000000`; K, M and G are powers of 1000."""
    return _parse_size(text, 1000, "a count of pixels such as 400M")


def _parse_size(text: str, base: int, what: str) -> int:
    match = _SIZE.fullmatch(str(text).strip())
    size = 0 if match is None else int(float(match[1]) * base ** _POWERS[match[2].upper()])
    if size < 1:
        raise typer.BadParameter(f"{text!r} is not {what}")
    return size


def check_quality(quality: int | None) -> int | None:
    """`quality` where it is one of 1..100 or None."""
    if quality is not None and not 1 <= quality <= 100:
        raise typer.BadParameter(f"{quality} is outside 1 (smallest file) to 100 (best)")
    return quality


def _check_tile(tile: int | None) -> int | None:
    if tile is not None and tile < 1:
        raise typer.BadParameter(f"{tile} is not a side in pixels; it is at least 1")
    return tile


def _check_scale(scale: int | None) -> int | None:
    if scale is not None and scale not in _SCALES:
        raise typer.BadParameter(f"{scale} is not one of 2, 3, 4")
    return scale


def _check_precision(precision: str) -> str:
    if precision not in _PRECISIONS:
        raise typer.BadParameter(f"{precision!r} is not one of {', '.join(_PRECISIONS)}")
    return precision


def _check_budget(budget: float | None) -> float | None:
    if budget is not None and not 0 < budget <= 1:
        raise typer.BadParameter(f"{budget:g} is outside (0, 1]; 0.5 is half the cost, 1 the full network")
    return budget


def _check_depth(depth: float | None) -> float | None:
    if depth is not None and not depth >= 0:
        raise typer.BadParameter(f"{depth:g} is below 0; the depth is a number of residual blocks")
    return depth


Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE|ORG/NAME",
        help="A bundled model (see [b]adadsr models[/b]), a checkpoint file, or a Hugging Face id. "
        "[dim]\\[default: adaedsr-baseline of the scale][/dim]",
    ),
]
Scale: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--scale",
        "-s",
        metavar="2|3|4",
        callback=_check_scale,
        help="How many times wider and higher. [dim]\\[default: the model's own, 2 without --model][/dim]",
    ),
]
Budget: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--budget",
        "-b",
        metavar="SHARE",
        callback=_check_budget,
        help="Share of the full network's cost to spend, above 0 and up to 1; it is met within 0.01. "
        "[dim]\\[default: 1][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Depth: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--depth",
        "-d",
        metavar="BLOCKS",
        callback=_check_depth,
        help="Instead of a budget: the desired depth, in residual blocks. What comes out may differ.",
        rich_help_panel="Speed and memory",
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ...; auto takes a CUDA device where there is one.",
        rich_help_panel="Speed and memory",
    ),
]
Backend: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs the network's body; see [b]adadsr backends[/b].",
        rich_help_panel="Speed and memory",
    ),
]
Precision: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="float32|float16|bfloat16",
        callback=_check_precision,
        help="Type of the network's numbers. Half precision is for GPUs; an image that leaves its range is run again "
        "in float32.",
        rich_help_panel="Speed and memory",
    ),
]
Tile: TypeAlias = Annotated[
    int | None,
    typer.Option(
        callback=_check_tile,
        metavar="PIXELS",
        help="Largest side of the tiles that images are cut into, in input pixels. "
        "[dim]\\[default: as large as memory allows][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Memory: TypeAlias = Annotated[
    int | None,
    typer.Option(
        parser=parse_bytes,
        metavar="SIZE",
        help="What the process may take, such as 800M or 16G; tiles are made to fit. "
        "[dim]\\[default: 1.1G where tiles change nothing, else 4G][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
MaxPixels: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        parser=parse_pixels,
        metavar="COUNT",
        help="Refuse input images of more pixels, such as 400M. [dim]\\[default: 178M][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
