"""`adadsr upscale --server`: the same options, run by a service."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adadsr.cli import FAILED, INTERRUPTED
from adadsr.cli.options import wrong_usage

if TYPE_CHECKING:
    from adadsr import batch

NOT_TAKEN = (
    *("device", "backend", "precision", "tile", "memory", "threads", "max_pixels", "border"),
    *("dry_run", "accept_damaged", "page", "linear_light", "keep_time"),
)
"""Options that say how this machine runs or reads, or that a service lacks."""
TAKEN = (
    *("model", "scale", "width", "height", "long_side", "megapixels"),
    *("budget", "depth", "max_loss", "seconds", "quality", "background"),
)
"""Options that go to the service."""


def check_options(context: typer.Context) -> None:
    """Raise BadParameter for options of `adadsr upscale` that a service does not take."""
    wrong = [f"--{name.replace('_', '-')}" for name in NOT_TAKEN if _is_given(context, name)]
    if wrong:
        raise typer.BadParameter(f"{', '.join(wrong)}: not with --server, which has its own; drop it")


def query_of(context: typer.Context) -> dict[str, str]:
    """Parameters of the request, without those that are not given."""
    given = {name: context.params[name] for name in TAKEN if _is_given(context, name)}
    return {name: f"{value:.12g}" if isinstance(value, float) else str(value) for name, value in given.items()}


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
    """Send the files, and say what came of them. Exits with 1 if one failed, with 130 if interrupted."""
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

    done, interrupted, seconds = remote.run(server, jobs.to_run, query, overwrite=overwrite, finished=finished)
    results = batch.settled(jobs) + done
    display.show_end(results, jobs, seconds, interrupted=interrupted, quiet=quiet)
    if report is not None:
        batch.write_json(report, batch.as_json(results, jobs, interrupted=interrupted))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(result.status is batch.Status.FAILED for result in results):
        raise typer.Exit(FAILED)
