"""`adadsr upscale`: files, folders and patterns."""

import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adadsr.cli import FAILED, INTERRUPTED, remote
from adadsr.cli.options import (
    Backend,
    Border,
    Budget,
    Depth,
    Device,
    MaxLoss,
    MaxPixels,
    Memory,
    Model,
    Precision,
    Seconds,
    Threads,
    Tile,
    execution_of,
    on_device,
    wrong_usage,
)
from adadsr.cli.upscale_options import (
    AcceptDamaged,
    Background,
    DepthMap,
    DryRun,
    Height,
    Inputs,
    KeepTime,
    LinearLight,
    LongSide,
    Megapixels,
    Name,
    Output,
    OutputFormat,
    Overwrite,
    Page,
    Quality,
    Quiet,
    ReportFile,
    Scale,
    Server,
    Suffix,
    Verbose,
    Width,
    naming_of,
    size_of,
)

if TYPE_CHECKING:
    from adadsr import batch
    from adadsr.upscaler import Chain


def upscale(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    model: Model = None,
    scale: Scale = None,
    width: Width = None,
    height: Height = None,
    long_side: LongSide = None,
    megapixels: Megapixels = None,
    linear_light: LinearLight = False,
    suffix: Suffix = None,
    name: Name = None,
    format: OutputFormat = None,
    quality: Quality = None,
    background: Background = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    depth: Depth = None,
    max_loss: MaxLoss = None,
    seconds: Seconds = None,
    device: Device = "auto",
    backend: Backend = None,
    precision: Precision = "float32",
    tile: Tile = None,
    memory: Memory = None,
    threads: Threads = None,
    max_pixels: MaxPixels = None,
    border: Border = "reflect",
    depth_map: DepthMap = False,
    report: ReportFile = None,
    keep_time: KeepTime = False,
    accept_damaged: AcceptDamaged = False,
    page: Page = None,
    server: Server = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Upscale images 2, 3 or 4 times, or to any larger size.

    Folders are searched recursively; their structure is kept below OUT.
    A bad file does not stop the others: it is named at the end, with status 1.
    Repeat an interrupted command to resume it.

    [b]One photo[/b]
      adadsr upscale photo.jpg -o large.png

    [b]Half the cost, and a map of where it went[/b]
      adadsr upscale photo.jpg -o out --budget 0.5 --depth-map

    [b]4000 pixels wide, beside the original[/b]
      adadsr upscale photo.jpg --width 4000 --suffix _4k

    [b]Many images[/b]
      adadsr upscale holiday/ "scans/*.tif" -o out --format webp
    """
    _check_together(verbose=verbose, quiet=quiet, dry_run=dry_run, report=report)
    if output is None and suffix is None and name is None:
        raise typer.BadParameter("pass -o OUT, or --suffix or --name to write beside the inputs")
    if server is not None:
        remote.check_options(context)
    from adadsr import batch, images
    from adadsr.upscaler import Target
    from adadsr.upscaler.loading import load_chain

    with wrong_usage():
        target = Target(depth, budget, max_loss, seconds)
        size = size_of(scale, width, height, long_side, megapixels)
        color = None if background is None else images.parse_color(background)
    execution = execution_of(device, backend, tile, memory, precision, threads, border)

    ending = None if format is None else f".{format}"

    @cache
    def load() -> "Chain":
        return load_chain(model, size, on_device(execution), linear_light=linear_light)

    if batch.is_pipe(inputs, output):
        _check_pipe(output, files_only=depth_map or keep_time or suffix is not None or name is not None)
        jobs = batch.find_pipe(inputs, output, sys.stdin.buffer, suffix=ending, overwrite=overwrite)
    else:
        asks_scale = name is not None and "{scale}" in name
        factor = (load().size if size is None else size).scale if asks_scale else None
        naming = naming_of(suffix, name, None if factor is None else f"{factor:g}")
        jobs = batch.find_jobs(inputs, output, suffix=ending, naming=naming, depth_views=depth_map, overwrite=overwrite)
    if server is not None:
        query = remote.query_of(context)
        remote.run_and_report(jobs, server, query, report, overwrite=overwrite, verbose=verbose, quiet=quiet)
        return
    limit = max_pixels or images.DEFAULT_MAX_PIXELS
    is_single = len(inputs) == 1 and not os.path.isdir(inputs[0]) and not batch.is_pattern(inputs[0])
    options = batch.Options(
        target, quality, limit, overwrite, accept_damaged, color, keep_time, clamp_budget=not is_single, page=page
    )
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


def _check_pipe(output: str | None, *, files_only: bool) -> None:
    if files_only:
        raise typer.BadParameter("--suffix, --name, --depth-map and --keep-time are for files; drop them with -")
    if output == "-" and sys.stdout.isatty():
        raise typer.BadParameter("-o - would print the image to the terminal; redirect it, or pass a file name")


def _show_plans(jobs: "batch.Jobs", options: "batch.Options", load: Callable[[], "Chain"]) -> None:
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
        measured, failed = batch.measure(jobs.to_run, upscaler.size, options, dry_run=True)
        results += failed
        for planned in batch.dry_run(upscaler, measured, options):
            if isinstance(planned, batch.Result):
                results.append(planned)
            else:
                typer.echo(display.describe_plan(planned))
    display.show_notes(jobs)
    display.show_failures(results)
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)


def _run_and_report(
    jobs: "batch.Jobs",
    options: "batch.Options",
    load: Callable[[], "Chain"],
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
    results, interrupted, seconds = batch.settled(jobs), False, 0.0
    if upscaler is not None:
        batch.check_target(upscaler, options)
        if not quiet:
            _note_full_depth(jobs, options, upscaler)
        measured, failed = batch.measure(jobs.to_run, upscaler.size, options)
        results += failed
        pixels = sum(each.pixels for each in measured)
        with display.watch(len(measured), pixels, verbose=verbose, quiet=quiet) as bar:
            run = batch.run(upscaler, measured, options, progress=bar.progress, finished=bar.finished)
        results, interrupted, seconds = results + run.results, run.interrupted, run.seconds
    display.show_end(results, jobs, seconds, interrupted=interrupted, quiet=quiet)
    if report is not None:  # last, since it may fail, and nobody else says which images failed
        batch.write_json(report, batch.as_json(results, jobs, interrupted=interrupted))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)


def _note_full_depth(jobs: "batch.Jobs", options: "batch.Options", upscaler: "Chain") -> None:
    full = options.target.is_full(upscaler.config.n_resblocks)
    if full and any(job.depth_view is not None for job in jobs.to_run):
        typer.echo("adadsr: the depth map is constant at full depth; use --budget to vary it", err=True)
