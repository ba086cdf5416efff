"""`adadsr train`: forwards its arguments to the command line of `adadsr.training`, and shows how the run goes."""

import importlib.util
from typing import TYPE_CHECKING

import typer

from adadsr.cli.options import resumable
from adadsr.errors import MissingDependencyError

if TYPE_CHECKING:
    from adadsr.training.log import Entry, Progress, Rollback, Validation

FORWARDED = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Context of a command whose options another parser reads, --help included."""
LIBRARIES = ("torch", "PIL", "yaml")
"""What the extra `train` brings and training cannot do without."""


def train(context: typer.Context) -> None:
    """Train a network on a folder of photos."""
    require_libraries()
    from adadsr.training import Recipe
    from adadsr.training import train as run
    from adadsr.training.__main__ import parse

    session = parse(context.args, "adadsr train")
    display = Display([stage.steps for stage in Recipe.from_yaml(session.recipe).stages])
    with resumable(), display.bar:
        path = run(session, [display])
    typer.echo(path)


def require_libraries() -> None:
    """Raise MissingDependencyError unless everything that training needs is installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"training needs {', '.join(missing)}; run pip install 'adadsr[train]'")


class Display:
    """A bar with loss, throughput and time left on a terminal; a line for each validation and rollback."""

    def __init__(self, steps: list[int], what: str = "train") -> None:
        """steps: of each stage. what: the bar's name."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console: Console = Console(stderr=True)
        self.steps = steps
        self.bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[what]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(what, total=sum(self.steps), what="reading images")

    def __call__(self, entry: "Entry") -> None:
        """Show an entry."""
        from adadsr.training.log import Progress, Targets, Validation

        done = sum(self.steps[: entry.stage]) + entry.step
        if isinstance(entry, Progress):
            self.bar.update(self.task, completed=done, what=progress_line(entry))
        elif isinstance(entry, Targets):
            self.bar.update(self.task, what=f"teacher's targets: {entry.share:.0%}")
        elif isinstance(entry, Validation):
            self.say(validation_line(entry, len(self.steps)))
        else:
            self.say(rollback_line(entry))

    def say(self, line: str) -> None:
        """Print a line above the bar, whole however wide the terminal is: it may be a log."""
        self.bar.console.print(line, soft_wrap=True)


def progress_line(entry: "Progress") -> str:
    """What the bar says."""
    hours, minutes = divmod(round(entry.seconds_left / 60), 60)
    return (
        f"{hours}:{minutes:02} left  loss {entry.loss:.3f}  {entry.images_per_second:.0f} patches/s  "
        f"{1000 * entry.seconds_per_step:.0f} ms/step ({entry.data_share:.1%} data)"
    )


def validation_line(entry: "Validation", stages: int) -> str:
    """PSNR at each share of the body's cost."""
    from adadsr.training.validation import HIGHEST

    scores = ", ".join(
        f"{share} equal" if value >= HIGHEST else f"{share} {value:.2f}" for share, value in entry.psnr_y.items()
    )
    return f"stage {entry.stage + 1} of {stages}, step {entry.step}: PSNR-Y {scores} dB ({entry.seconds:.0f} s)"


def rollback_line(entry: "Rollback") -> str:
    """The reason for a rollback, and the step at which the run continues."""
    loss = "not finite" if entry.loss is None else f"spiked to {entry.loss:.3g}"
    return (
        f"stage {entry.stage + 1}, step {entry.seen_at}: loss {loss}; "
        f"rolled back to step {entry.step}, learning rate x {0.5**entry.rollbacks:g}"
    )
