"""What `adadsr upscale` shows: a progress bar on a terminal, one line of summary, and each failure."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from adadsr.batch import Jobs, Planned, Result, Status
from adadsr.upscaler import ChainPlan

LEAST_SHOWN_LOSS = 0.01
"""Predicted losses below this, in dB, mean as much as none."""


class _TimeLeft(ProgressColumn):
    """Time left at the mean speed so far: images are weighted by their pixels, so it is steady."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed or not task.total:
            return Text("estimating")
        seconds = task.elapsed * (task.total - task.completed) / task.completed
        return Text(f"{duration(seconds)} left")


class Bar:
    """A progress bar over the pixels of all images, with the count of images."""

    def __init__(self, bar: Progress, images: int, pixels: int, *, verbose: bool) -> None:
        self._bar, self._images, self._verbose, self._ended = bar, images, verbose, 0
        self._task = bar.add_task(self._count(), total=pixels)

    def progress(self, pixels: float) -> None:
        """pixels: done so far."""
        self._bar.update(self._task, completed=pixels)

    def finished(self, result: Result) -> None:
        """Count one more result, and print it if details are wanted."""
        self._ended += 1
        self._bar.update(self._task, description=self._count())
        if self._verbose:
            self._bar.console.print(Text(describe(result)), soft_wrap=True)  # above the bar

    def _count(self) -> str:
        return f"{self._ended}/{self._images} images"


@contextmanager
def watch(images: int, pixels: int, *, verbose: bool, quiet: bool) -> Iterator[Bar]:
    """A bar on stderr during the run; none if stderr is not a terminal or the bar is not wanted."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _TimeLeft())
    hidden = quiet or not sys.stderr.isatty()  # rich would count FORCE_COLOR as a terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        yield Bar(bar, images, pixels, verbose=verbose)


def show_end(results: Sequence[Result], jobs: Jobs, seconds: float, *, interrupted: bool, quiet: bool) -> None:
    """The summary on stdout, unless an image goes there, then each failure and the interruption on stderr."""
    if not quiet and (len(results) != 1 or results[0].status is not Status.FAILED):
        typer.echo(summary(results, seconds), err=any(job.to_stdout for job in jobs.to_run))
    if not quiet:
        _show_warnings(results)
        show_notes(jobs)
    show_failures(results)
    if interrupted:
        left = sum(result.status is Status.NOT_RUN for result in results)
        typer.echo(f"adadsr: interrupted; {left} of {len(results)} images not run, the rest complete", err=True)


def _show_warnings(results: Sequence[Result]) -> None:
    """What a user should know about images that are done, on stderr."""
    for result in results:
        damage = f"damaged ({result.damage}); only what could be decoded was upscaled" if result.damage else None
        for warning in (damage, *result.warnings):
            if warning:
                typer.echo(f"adadsr: {result.source}: {warning}", err=True)


def show_notes(jobs: Jobs) -> None:
    """What was decided about names, and what was left out, on stderr."""
    for note in jobs.notes:
        typer.echo(f"adadsr: {note}", err=True)
    if left_out := str(jobs.left_out):
        typer.echo(f"adadsr: left out: {left_out}", err=True)


def show_failures(results: Sequence[Result]) -> None:
    """The reason of each failure on stderr."""
    for result in results:
        if result.status is Status.FAILED:
            typer.echo(f"adadsr: {result.reason}", err=True)


def describe_plan(planned: Planned) -> str:
    """One line about what a run would do."""
    job, plan, frames = planned
    (rows, columns), (height, width) = plan.before, plan.after
    chain = _chain(plan.scales, None if plan.reduced_from is None else plan.reduced_from[::-1])
    networks = [_network(plan, index) for index in range(len(plan.scales))]
    if len(networks) > 1:
        networks = [f"x{scale} with {network}" for scale, network in zip(plan.scales, networks, strict=True)]
    return (
        f"{job.source} -> {job.target}: {columns}x{rows} to {width}x{height}{chain}{_chosen(plan.chosen_for)}, "
        f"{'; '.join(networks)}, {plan.bytes / 2**20:.0f} MiB"
        + (f", for the first of {frames} frames" if frames > 1 else "")
    )


def _network(plan: ChainPlan, index: int) -> str:
    """What one network of a chain does. Depths after the first are unknown, but not what they cost with a budget."""
    each, target = plan.networks[index], plan.first.target
    cut = "1 tile" if len(each.tiles) == 1 else f"{len(each.tiles)} tiles{'' if each.exact else ', not exact'}"
    if index == 0:
        return (
            f"mean depth {each.mean_depth:.1f}, {each.budget:.1%} of the full network's cost"
            f"{_loss(each.predicted_loss)}, "
            f"{each.cost.total / 1e9:.1f} GMAC in {cut}"
        )
    gmacs = each.dense_cost.total / 1e9
    if target.is_full(each.network.n_blocks):
        return f"{gmacs:.1f} GMAC in {cut}"
    if target.budget is None:
        return f"at most {gmacs:.1f} GMAC in {cut}"
    return f"about {gmacs * target.budget:.1f} GMAC in {cut}"


def _chain(steps: Sequence[int], reduced_from: tuple[int, int] | None) -> str:
    """` by x2, x3, reduced from 60x48`; empty for one network whose result is the output."""
    if len(steps) == 1 and reduced_from is None:
        return ""
    reduced = "" if reduced_from is None else f", reduced from {reduced_from[0]}x{reduced_from[1]}"
    return f" by {', '.join(f'x{scale}' for scale in steps)}{reduced}"


def summary(results: Sequence[Result], seconds: float) -> str:
    """One line about all results. seconds: that the run took."""
    if len(results) == 1:
        return describe(results[0])
    counts = {status: sum(result.status is status for result in results) for status in Status}
    done = [result for result in results if result.report is not None]
    text = f"{counts[Status.DONE]} of {len(results)} images upscaled"
    if done:
        reports = [result.report for result in done if result.report is not None]
        share = sum(report.executed_gmacs for report in reports) / sum(report.dense_gmacs for report in reports)
        lossy = sum(report.chosen_for is not None for report in reports)
        text += f" in {duration(seconds)}{lossy_ones(lossy)}, at {share:.1%} of the full network's cost"
    if counts[Status.SKIPPED]:
        lacking = sum(_lacks_depth_map(result) for result in results)
        without = f", {lacking} of them without a depth map" if lacking else ""
        text += f"; {counts[Status.SKIPPED]} skipped, their outputs exist{without} (--overwrite replaces them)"
    return text + (f"; {counts[Status.FAILED]} failed" if counts[Status.FAILED] else "")


def lossy_ones(count: int) -> str:
    """How many images took a network for photos, as a part of a summary; empty if none did."""
    return f", {count} of them lossy (network for photos)" if count else ""


def _lacks_depth_map(result: Result) -> bool:
    return result.status is Status.SKIPPED and result.depth_view is not None and not result.depth_view.exists()


def describe(result: Result) -> str:
    """One line about one result."""
    report = result.report
    if report is None:
        about = "skipped" if result.status is Status.SKIPPED else result.status.value
        place = result.source if result.target is None else result.target
        reason = (result.reason or "").removeprefix(f"{place}: ")
        return f"{place}: {about}: {reason}"
    before, after = ("x".join(map(str, size)) for size in (report.input_size, report.output_size))
    chain = _chain(report.networks, report.reduced_from)
    frames = f" ({report.frames} frames)" if report.frames > 1 else ""
    return (
        f"{result.source} -> {result.target}: {before} to {after}{frames}{chain}{_chosen(report.chosen_for)} "
        f"in {duration(result.seconds)} "
        f"on {report.device}, mean depth {report.mean_depth:.1f}, "
        f"{report.achieved_budget:.1%} of the full network's cost{_loss(report.predicted_loss)}"
    )


def _chosen(lossy_format: str | None) -> str:
    """Why a network for photos runs; empty if none does."""
    return "" if lossy_format is None else f" (network for photos, since this {lossy_format} is lossy)"


def _loss(predicted: float | None) -> str:
    """` at a predicted loss of 0.05 dB`; empty at full depth and if the loss is unknown."""
    if not predicted:
        return ""
    shown = f"of {predicted:.2g}" if predicted >= LEAST_SHOWN_LOSS else f"below {LEAST_SHOWN_LOSS:g}"
    return f" at a predicted loss {shown} dB"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s` or `2 h 03 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
