"""`adadsr train`: a recipe and folders of images -> a finished, evaluated checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import Device

if TYPE_CHECKING:
    from adadsr.training.log import Entry, Progress, Rollback, Validation
    from adadsr.training.recipe import Recipe

Folder = Annotated[Path, typer.Option(metavar="DIR", help="Folder of HR images, searched recursively.")]


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Network and stages; see recipes/.")],
    train: Folder,
    valid: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for state, log and result.")],
    every: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Steps between validations.")] = 1000,
    look: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Steps between looks at the loss.")] = 20,
    minutes: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="Minutes between saved states.")] = 5.0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder where LR images are kept. [dim]\\[default: ~/.cache/adadsr/lr][/dim]"),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves to OUT/board.")] = False,
    device: Device = "auto",
) -> None:
    """Train a network. Started again with the same OUT, it goes on where it was interrupted.

    For several devices: [b]torchrun --nproc-per-node N -m adadsr.training RECIPE.yaml ...[/b]
    """
    from adadsr.training import Pace, Recipe, Session
    from adadsr.training import train as run
    from adadsr.training.session import default_cache

    session = Session(
        recipe, train, valid, out, Pace(every, look, minutes), cache or default_cache(), device, tensorboard
    )
    display = Display(Recipe.from_yaml(recipe))
    with display.bar:
        path = run(session, [display])
    typer.echo(path)


class Display:
    """A bar with loss, throughput and where the time goes on a terminal; a line for each validation and rollback."""

    def __init__(self, recipe: "Recipe") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console: Console = Console(stderr=True)
        self.steps = [stage.steps for stage in recipe.stages]
        self.bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[what]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("train", total=sum(self.steps), what="images")

    def __call__(self, entry: "Entry") -> None:
        """Show an entry."""
        from adadsr.training.log import Progress, Validation

        done = sum(self.steps[: entry.stage]) + entry.step
        if isinstance(entry, Progress):
            self.bar.update(self.task, completed=done, what=progress_line(entry))
        elif isinstance(entry, Validation):
            self.bar.console.print(validation_line(entry, len(self.steps)))
        else:
            self.bar.console.print(rollback_line(entry))


def progress_line(entry: "Progress") -> str:
    """What the bar says."""
    hours, minutes = divmod(round(entry.seconds_left / 60), 60)
    return (
        f"{hours}:{minutes:02} left  loss {entry.loss:.3f}  {entry.images_per_second:.0f} patches/s  "
        f"{1000 * entry.seconds_per_step:.0f} ms a step, {entry.data_share:.1%} of it data"
    )


def validation_line(entry: "Validation", stages: int) -> str:
    """PSNR at each share of the body's cost."""
    scores = ", ".join(f"{share} {value:.2f}" for share, value in entry.psnr_y.items())
    return f"stage {entry.stage + 1} of {stages}, step {entry.step}: PSNR-Y {scores} dB ({entry.seconds:.0f} s)"


def rollback_line(entry: "Rollback") -> str:
    """What happened, and from where it goes on."""
    loss = "is not finite" if entry.loss is None else f"jumped to {entry.loss:.3g}"
    return (
        f"stage {entry.stage + 1}, step {entry.seen_at}: the loss {loss}; "
        f"back to step {entry.step} at {0.5**entry.rollbacks:g} of the learning rate"
    )
