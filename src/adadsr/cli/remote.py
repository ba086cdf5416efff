"""`adadsr upscale --server`: the same options, run by a service."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adadsr.cli import FAILED
from adadsr.cli.options import wrong_usage

if TYPE_CHECKING:
    from adadsr import batch

ELSEWHERE = (
    "backend",
    "precision",
    "tile",
    "memory",
    "threads",
    "max_pixels",
    "dry_run",
    "accept_damaged",
    "keep_time",
)
"""Options that say how this machine runs or reads; a service has its own."""


def check_options(given: dict[str, object]) -> None:
    """Raise BadParameter for options that a service does not take. given: by name, with false values if not given."""
    wrong = [f"--{name.replace('_', '-')}" for name in ELSEWHERE if given.get(name)]
    if wrong:
        raise typer.BadParameter(f"{', '.join(wrong)}: not with --server, which has its own; drop it")


def query_of(values: dict[str, object]) -> dict[str, str]:
    """Parameters of the request, without those that are not given."""
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items() if value}


def run_and_report(
    jobs: "batch.Jobs",
    url: str,
    query: dict[str, str],
    report: Path | None,
    *,
    overwrite: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Send the files, and say what came of them. Exits with 1 if one failed."""
    from adadsr import batch, remote
    from adadsr.cli import display

    if any(job.to_stdout for job in jobs.to_run):
        raise typer.BadParameter("--server writes files; pass -o FILE instead of -")
    with wrong_usage():
        server = remote.Server(url, os.environ.get(remote.KEY_VARIABLE) or None)
    if report is not None:
        batch.prepare_json(report, jobs)

    def finished(result: "batch.Result") -> None:
        if verbose:
            typer.echo(display.describe(result))

    start = time.perf_counter()
    results = batch.settled(jobs) + remote.run(server, jobs.to_run, query, overwrite=overwrite, finished=finished)
    display.show_end(results, jobs, time.perf_counter() - start, interrupted=False, quiet=quiet)
    if report is not None:
        batch.write_json(report, batch.as_json(results, jobs))
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)
