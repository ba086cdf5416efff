"""Options that several subcommands share, and how their values are read. A wrong value is wrong usage: status 2."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from adadsr.errors import InputError

if TYPE_CHECKING:
    from adadsr.upscaler import Execution

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


@contextmanager
def wrong_usage() -> Iterator[None]:
    """An InputError inside the block is wrong usage."""
    try:
        yield
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def resumable(fresh: bool = False) -> Iterator[None]:
    """An interruption of the block says how to resume the command. fresh: whether it was given --fresh."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"repeat the command{' without --fresh' if fresh else ''} to resume") from error


Given = TypeVar("Given", str, list[str], str | None)


def not_empty(given: Given) -> Given:
    """The paths of an argument. An empty one would be the current folder, which nobody means."""
    if given == "" or (isinstance(given, list) and "" in given):
        raise typer.BadParameter("is empty; check the variable it comes from")
    return given


def path_of(text: str) -> Path:
    """A path on the command line, as a parser of typer. Raises BadParameter if it is empty."""
    return Path(not_empty(text))


Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE|ORG/NAME",
        help="Bundled model (see [b]adadsr models[/b]), checkpoint file, or Hugging Face id. "
        "[dim]\\[default: adaedsr-baseline-x2, -x3 or -x4; adaedsr-photo-... for lossy files such as JPEGs][/dim]",
    ),
]
Budget: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--budget",
        "-b",
        metavar="SHARE",
        help="Share of the full network's cost to spend, in (0, 1]; met within 0.01. [dim]\\[default: 1][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Depth: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--depth",
        "-d",
        metavar="BLOCKS",
        help="Desired mean depth in residual blocks, instead of a budget. Published adapters may miss it.",
        rich_help_panel="Speed and memory",
    ),
]
MaxLoss: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-loss",
        metavar="DB",
        help="Maximum predicted PSNR loss in dB against full depth, instead of a budget.",
        rich_help_panel="Speed and memory",
    ),
]
Seconds: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Time of each image; see [b]backends --measure[/b].",
        rich_help_panel="Speed and memory",
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ...; auto prefers CUDA.",
        rich_help_panel="Speed and memory",
    ),
]
Backend: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Engine of the network; see [b]adadsr backends[/b].",
        rich_help_panel="Speed and memory",
    ),
]
Precision: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="float32|float16|bfloat16",
        help="Floating-point type of the network. bfloat16 is for AMX and GPUs, float16 for GPUs; tiles that overflow "
        "run again in float32.",
        rich_help_panel="Speed and memory",
    ),
]
Tile: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Maximum tile side in input pixels. [dim]\\[default: as large as --memory allows][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Memory: TypeAlias = Annotated[
    int | None,
    typer.Option(
        parser=parse_bytes,
        metavar="SIZE",
        help="Limit on working memory, such as 800M or 16G. Large images run in tiles to fit. "
        "[dim]\\[default: 1G if tiles are exact, otherwise 4G; on a GPU what is free][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="COUNT",
        help="Threads of the native engine. [dim]\\[default: ADADSR_THREADS, OMP_NUM_THREADS, or all that the process "
        "may use][/dim]",
        rich_help_panel="Speed and memory",
    ),
]
Border: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="reflect|zero",
        help="Beyond the border: a reflection (default), or zeros.",
        show_default=False,
        rich_help_panel="Rarely needed",
    ),
]
MaxPixels: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        parser=parse_pixels,
        metavar="COUNT",
        help="Refuse larger input images, such as 400M for 400 megapixels. [dim]\\[default: 178M][/dim]",
        rich_help_panel="Speed and memory",
    ),
]


def execution_of(
    device: str,
    backend: str | None,
    tile: int | None,
    memory: int | None,
    precision: str,
    threads: int | None,
    border: str = "reflect",
) -> "Execution":
    """How networks run, by the options of these names, checked. device: may be `auto`, for `on_device`."""
    from adadsr.upscaler import Execution

    with wrong_usage():
        return Execution(device, backend, tile, memory, precision, threads, border)


def on_device(execution: "Execution") -> "Execution":
    """The same, with CUDA if available, otherwise the CPU, in place of `auto`."""
    from adadsr.backends import auto_device  # imports torch

    return replace(execution, device=auto_device()) if execution.device == "auto" else execution
