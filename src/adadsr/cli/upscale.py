"""`adadsr upscale`: files, folders and patterns."""

import logging
from collections.abc import Callable
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
    Threads,
    Tile,
    execution_of,
    on_device,
    wrong_usage,
)
from adadsr.formats import FORMATS, find_format, joined

if TYPE_CHECKING:
    from adadsr import batch
    from adadsr.upscaler import Upscaler

_OUTPUT = "Output"
_LOSSY = [each for each in FORMATS if not each.is_lossless]


def _check_format(name: str | None) -> str | None:
    """`name` in lower case if it is a format."""
    if name is None:
        return None
    with wrong_usage():
        find_format(name)
    return name.lower().removeprefix(".")


Inputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT", help='Images, folders, or quoted patterns such as "scans/*.tif".', show_default=False
    ),
]
Output: TypeAlias = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Output file, if the input is one file and OUT has an image suffix; otherwise a folder.",
        show_default=False,
    ),
]
OutputFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        callback=_check_format,
        help=f"Format of the output files: {', '.join(each.suffixes[0][1:] for each in FORMATS)}. "
        "[dim]\\[default: that of each input][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Quality: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help=f"Quality of {joined(each.name for each in _LOSSY)} files. 100 is lossless for "
        f"{joined(each.name for each in _LOSSY if each.is_lossless_at_100)}. "
        f"[dim]\\[default: {', '.join(f'{each.name} {each.default_quality}' for each in _LOSSY)}][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace existing outputs instead of skipping them.", rich_help_panel=_OUTPUT),
]
DepthMap: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--depth-map",
        help="Also write STEM.depth.png next to each output: a picture of how deep the network ran.",
        rich_help_panel=_OUTPUT,
    ),
]
ReportFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write a JSON report: status, sizes, time, mean depth and cost of each image.",
        rich_help_panel=_OUTPUT,
    ),
]
AcceptDamaged: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--accept-damaged",
        help="Take what can be decoded of damaged PNG, JPEG and TIFF files, with a warning.",
        rich_help_panel=_OUTPUT,
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print a line per image.", rich_help_panel=_OUTPUT)
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=_OUTPUT)]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check every input and print what would run: cost, depth, tiles and memory. Nothing is written.",
        rich_help_panel="Speed and memory",
    ),
]


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
    threads: Threads = None,
    max_pixels: MaxPixels = None,
    dry_run: DryRun = False,
    format: OutputFormat = None,
    quality: Quality = None,
    overwrite: Overwrite = False,
    depth_map: DepthMap = False,
    report: ReportFile = None,
    accept_damaged: AcceptDamaged = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Upscale images 2, 3 or 4 times.

    Folders are searched recursively; their structure is kept below OUT.
    A bad file does not stop the others: it is named at the end, with status 1.
    Repeat an interrupted command to resume it.

    [b]One photo[/b]
      adadsr upscale photo.jpg -o large.png

    [b]Half the cost, and a map of where it went[/b]
      adadsr upscale photo.jpg -o out --budget 0.5 --depth-map

    [b]Many images[/b]
      adadsr upscale holiday/ "scans/*.tif" -o out --format webp
    """
    _check_together(verbose=verbose, quiet=quiet, dry_run=dry_run, report=report)
    from adadsr import batch, images
    from adadsr.cli.loading import load_upscaler
    from adadsr.upscaler import Target

    with wrong_usage():
        target = Target(depth, budget)
    execution = execution_of(device, backend, tile, memory, precision, threads)
    suffix = None if format is None else f".{format}"
    jobs = batch.find_jobs(inputs, output, suffix=suffix, depth_views=depth_map, overwrite=overwrite)
    limit = max_pixels or images.DEFAULT_MAX_PIXELS
    options = batch.Options(target, quality, limit, overwrite, accept_damaged)

    def load() -> "Upscaler":
        return load_upscaler(model, scale, on_device(execution))

    if dry_run:
        _show_plans(jobs, options, load)
    else:
        _run_and_report(jobs, options, load, report, verbose=verbose, quiet=quiet)


def _check_together(*, verbose: bool, quiet: bool, dry_run: bool, report: Path | None) -> None:
    if verbose and quiet:
        raise typer.BadParameter("pass either --verbose or --quiet, not both")
    if dry_run and (verbose or quiet or report is not None):
        raise typer.BadParameter("--dry-run only prints plans; drop --report, --verbose and --quiet")
    if verbose:
        logging.basicConfig()
        logging.getLogger("adadsr").setLevel(logging.DEBUG)


def _show_plans(jobs: "batch.Jobs", options: "batch.Options", load: Callable[[], "Upscaler"]) -> None:
    """A line for each input that a run would upscale or skip on stdout, each failure on stderr."""
    from adadsr import batch
    from adadsr.cli import display

    results = batch.settled(jobs)
    for result in results:
        if result.status is batch.Status.SKIPPED:
            typer.echo(display.describe(result))
    if jobs.to_run:
        upscaler = load()
        batch.check_target(upscaler, options)
        _note_full_depth(jobs, options, upscaler)
        measured, failed = batch.measure(jobs.to_run, upscaler.scale, options, dry_run=True)
        results += failed
        for planned in batch.dry_run(upscaler, measured, options):
            if isinstance(planned, batch.Result):
                results.append(planned)
            else:
                typer.echo(display.describe_plan(*planned))
    display.show_failures(results)
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)


def _run_and_report(
    jobs: "batch.Jobs",
    options: "batch.Options",
    load: Callable[[], "Upscaler"],
    report: Path | None,
    *,
    verbose: bool,
    quiet: bool,
) -> None:
    from adadsr import batch
    from adadsr.cli import display

    upscaler = load() if jobs.to_run else None
    if report is not None:
        batch.prepare_json(report, jobs)
    results, interrupted = batch.settled(jobs), False
    if upscaler is not None:
        batch.check_target(upscaler, options)
        if not quiet:
            _note_full_depth(jobs, options, upscaler)
        measured, failed = batch.measure(jobs.to_run, upscaler.scale, options)
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


def _note_full_depth(jobs: "batch.Jobs", options: "batch.Options", upscaler: "Upscaler") -> None:
    full = options.target.is_full(upscaler.config.n_resblocks)
    if full and any(job.depth_view is not None for job in jobs.to_run):
        typer.echo("adadsr: the depth map is constant at full depth; use --budget to vary it", err=True)
