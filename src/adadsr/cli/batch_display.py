"""What `adadsr batch` shows: progress on a terminal, one line of summary, and failures."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from adadsr.cli.display import LEAST_SHOWN_LOSS, duration, lossy_ones
from adadsr.cluster import Outcome, Progress

MOST_REASONS = 20
"""Failures that are named; the manifest has all."""


LOG_SECONDS = 60.0
"""Between two lines of progress where stderr is not a terminal."""


@contextmanager
def watch(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A line on stderr that follows the run; in a file or a log, a new line now and then."""
    if quiet:
        yield lambda progress: None
    elif not sys.stderr.isatty():
        yield _Log().show
    else:
        with Live(Text("listing inputs, starting Ray"), console=Console(file=sys.stderr), transient=True) as live:
            yield lambda progress: live.update(Text(describe(progress)))


class _Log:
    """Lines for those who read them later."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LOG_SECONDS

    def show(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOG_SECONDS
            typer.echo(f"{time.strftime('%H:%M:%S')} {describe(progress)}", err=True)


def describe(progress: Progress) -> str:
    """`120/4000 images, 96.5 MP, 51.2% of the full cost, 0.031 dB predicted loss, 2 failed, 3 min 05 s left`."""
    ended = progress.done + progress.failed
    if progress.is_planning:
        parts = [f"planning {ended}/{progress.total} images"]
    else:
        parts = [f"{ended}/{progress.total} images", f"{progress.megapixels:.1f} MP"]
    if progress.dense_gmacs:
        parts.append(f"{progress.executed_gmacs / progress.dense_gmacs:.1%} of the full cost")
    if progress.predicted_loss:
        parts.append(f"{_loss(progress.predicted_loss)} predicted loss")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def show_end(outcome: Outcome, *, quiet: bool) -> None:
    """The summary on stdout, then notes and failures on stderr."""
    if not quiet:
        typer.echo(summary(outcome))
        if outcome.report:
            typer.echo(f"report: {outcome.report[0]}")
        for note in outcome.notes:
            typer.echo(f"adadsr: {note}", err=True)
        if left_out := str(outcome.left_out):
            typer.echo(f"adadsr: left out: {left_out}", err=True)
    reasons = [reason for _, reason in outcome.failures] + outcome.reasons(MOST_REASONS)
    for reason in reasons:
        typer.echo(f"adadsr: {reason}", err=True)
    if outcome.failed > MOST_REASONS:
        typer.echo(f"adadsr: and {outcome.failed - MOST_REASONS} more; the manifest names all", err=True)
    if outcome.interrupted:
        typer.echo("adadsr: interrupted; repeat the command to resume", err=True)


def summary(outcome: Outcome) -> str:
    """One line about a run."""
    text = f"{outcome.done} of {outcome.done + outcome.failed} images upscaled in {duration(outcome.seconds)}"
    if outcome.earlier:
        text += f", {outcome.earlier} of them by earlier runs"
    text += lossy_ones(sum(outcome.chosen_for.values()))
    if outcome.share is not None:
        text += f", at {outcome.share:.1%} of the full network's cost"
    if outcome.decision is not None:
        text += f", predicted loss of all together {_loss(outcome.decision.predicted_loss)}"
        if outcome.decision.equal_loss is not None:
            text += f" ({_loss(outcome.decision.equal_loss)} with this budget for each)"
    if outcome.skipped:
        text += f"; {len(outcome.skipped)} skipped, their outputs exist (--overwrite replaces them)"
    return text + (f"; {outcome.failed} failed" if outcome.failed else "")


def _loss(predicted: float) -> str:
    return f"{predicted:.2g} dB" if predicted >= LEAST_SHOWN_LOSS else f"below {LEAST_SHOWN_LOSS:g} dB"
