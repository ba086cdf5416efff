"""`adadsr upscale`: enlarge files, folders and patterns."""

import logging
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from adadsr.cli import FAILED, INTERRUPTED
from adadsr.cli.options import (
    Backend,
    Budget,
    Depth,
    Device,
    MaxPixels,
    Memory,
    Model,
    Precision,
    Scale,
    Tile,
    check_quality,
)

if TYPE_CHECKING:
    from adadsr import batch
    from adadsr.upscaler import Upscaler

_OUTPUT = "Output"


class Format(str, Enum):
    """Formats of outputs; a value is a suffix without its dot."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"


Inputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Images, folders, and patterns in quotes.", show_default=False),
]
Output: TypeAlias = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="The file to write where the input is one file and OUT ends like an image; else a folder.",
        show_default=False,
    ),
]
OutputFormat: TypeAlias = Annotated[
    Format | None,
    typer.Option(
        metavar="FORMAT",
        help="Of the files in the folder OUT: png, jpg, webp, tiff or avif. [dim]\\[default: each input's own][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Quality: TypeAlias = Annotated[
    int | None,
    typer.Option(
        callback=check_quality,
        metavar="1..100",
        help="Of JPEG, WebP and AVIF; 100 makes WebP and AVIF lossless. [dim]\\[default: 95, for AVIF 90][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that exist; else skip them.", rich_help_panel=_OUTPUT)
]
DepthMap: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--depth-map",
        help="Draw how deep the network ran where: STEM.depth.png beside each output.",
        rich_help_panel=_OUTPUT,
    ),
]
ReportFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write status, sizes, seconds, mean depth and cost of every image.",
        rich_help_panel=_OUTPUT,
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="A line for each image.", rich_help_panel=_OUTPUT)
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but errors.", rich_help_panel=_OUTPUT)]


def upscale(
    inputs: Inputs,
    output: Output,
    model: Model = None,
    scale: Scale = None,
    budget: Budget = None,
    depth: Depth = None,
    device: Device = "auto",
    backend: Backend = None,
    precision: Precision = "float32",
    tile: Tile = None,
    memory: Memory = None,
    max_pixels: MaxPixels = None,
    format: OutputFormat = None,
    quality: Quality = None,
    overwrite: Overwrite = False,
    depth_map: DepthMap = False,
    report: ReportFile = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Enlarge images 2, 3 or 4 times.

    Folders are searched recursively and keep their structure below OUT.
    One bad file does not stop the others: it is named at the end, with status 1.
    After an interruption the same command goes on where it stopped.

    [b]One photo[/b]
      adadsr upscale photo.jpg -o large.png

    [b]Half the cost, and a picture of where it was spent[/b]
      adadsr upscale photo.jpg -o out --budget 0.5 --depth-map

    [b]Many at once[/b]
      adadsr upscale holiday/ "scans/*.tif" -o out --format webp
    """
    _check_together(budget, depth, verbose, quiet)
    from adadsr import batch, images
    from adadsr.cli.loading import load_upscaler

    suffix = None if format is None else f".{format.value}"
    plan = batch.plan(inputs, output, suffix=suffix, depth_views=depth_map, overwrite=overwrite)
    options = batch.Options(depth, budget, quality, max_pixels or images.DEFAULT_MAX_PIXELS, overwrite)

    def load() -> "Upscaler":
        return load_upscaler(
            model, scale, device=device, backend=backend, tile=tile, memory=memory, precision=precision
        )

    _run_and_report(plan, options, load, report, verbose=verbose, quiet=quiet)


def _check_together(budget: float | None, depth: float | None, verbose: bool, quiet: bool) -> None:
    if budget is not None and depth is not None:
        raise typer.BadParameter("give --budget or --depth, not both")
    if verbose and quiet:
        raise typer.BadParameter("give --verbose or --quiet, not both")
    if verbose:
        logging.basicConfig()
        logging.getLogger("adadsr").setLevel(logging.DEBUG)


def _run_and_report(
    plan: "batch.Plan",
    options: "batch.Options",
    load: Callable[[], "Upscaler"],
    report: Path | None,
    *,
    verbose: bool,
    quiet: bool,
) -> None:
    from adadsr import batch
    from adadsr.cli import display

    upscaler = load() if plan.jobs else None
    if report is not None:
        batch.prepare_json(report, plan)
    results, interrupted = batch.settled(plan), False
    if upscaler is not None:
        batch.check_target(upscaler, options)
        _note_full_depth(plan, options, upscaler, quiet)
        measured, failed = batch.measure(plan.jobs, upscaler.scale, options)
        results += failed
        pixels = sum(each.pixels for each in measured)
        with display.watch(len(measured), pixels, verbose=verbose, quiet=quiet) as bar:
            run = batch.run(upscaler, measured, options, progress=bar.progress, finished=bar.finished)
        results, interrupted = results + run.results, run.interrupted
    display.show_end(results, interrupted=interrupted, quiet=quiet)
    if report is not None:  # last, since it may fail, and nobody else says which images failed
        batch.write_json(report, batch.as_json(results, interrupted=interrupted))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)


def _note_full_depth(plan: "batch.Plan", options: "batch.Options", upscaler: "Upscaler", quiet: bool) -> None:
    full = options.budget in (None, 1) and options.depth in (None, upscaler.network.config.n_resblocks)
    if full and not quiet and any(job.depth_view is not None for job in plan.jobs):
        typer.echo("adadsr: at full depth the depth map is the same everywhere; --budget makes it vary", err=True)
