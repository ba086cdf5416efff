"""`adadsr adapt`: a dense network becomes adaptive, from photos alone."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import path_of, resumable, wrong_usage
from adadsr.cli.train import Display, require_libraries
from adadsr.formats import is_image_file

if TYPE_CHECKING:
    from adadsr.adaptation import Adaptation
    from adadsr.training.log import Entry

LOG_SECONDS = 60.0
"""Between two lines about the same work where stderr is not a terminal."""


def adapt(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A dense network of residual blocks, such as ESRGAN, EDSR or RCAN, as adadsr convert writes it.",
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Option(
            "--images",
            metavar="PHOTOS...",
            help="Photos, or folders of them, searched recursively. Several may follow, or repeat the option.",
            parser=path_of,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Output folder for state, model and report.", parser=path_of),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="PHOTOS", hidden=True, parser=path_of)] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="cpu|accelerator|quick",
            help="cpu: half an hour on two cores for a network of 6 blocks. accelerator: a GPU. quick: minutes, to see "
            "it work.",
        ),
    ] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Training steps. [dim]\\[default: the preset's][/dim]", show_default=False),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|bfloat16", help="Of training. auto: bfloat16 on CUDA devices and on CPUs with AMX."
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, ...; auto picks CUDA if available.")
    ] = ("auto"),
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Cache folder for crops and the network's output on them. [dim]\\[default: adapt below the cache "
            "folder][/dim]",
            show_default=False,
            parser=path_of,
        ),
    ] = None,
) -> None:
    """Make a dense network adaptive, so that it takes budgets.

    No HR images are needed: the network learns to give its own full output at less depth, and its
    adapter to tell where that costs most. OUT gets model.safetensors and a report of fidelity
    against cost. Repeat an interrupted command to resume it.

    [b]Example[/b]
      adadsr adapt x4plus.safetensors --images photos -o adaptive
    """
    require_libraries()
    from adadsr.adaptation import Adaptation
    from adadsr.training import default_cache

    if is_image_file(model):  # a shell expanded a pattern, of which --images takes the first name only
        raise typer.BadParameter(f"{model} is an image; name the network first, as in: adadsr adapt MODEL --images ...")
    home = default_cache()
    with wrong_usage():
        options = Adaptation(
            model,
            (*images, *(more or ())),
            out,
            preset,
            steps,
            precision,
            device,
            cache or (None if home is None else home.parent / "adapt"),
        )
    with resumable():
        written = _with_progress(options)
    for path in written:
        typer.echo(path)


def _with_progress(options: "Adaptation") -> list[Path]:
    """Run with a bar on a terminal, and a line for each validation."""
    from adadsr.adaptation import adapt as run
    from adadsr.adaptation import stage_steps

    display = AdaptDisplay(stage_steps(options), "adapt")
    with display.bar:
        return run(options, display.tell, [display])


class AdaptDisplay(Display):
    """What `Display` shows of training, and the work before and after it."""

    def __init__(self, steps: list[int], what: str) -> None:
        """steps, what: as for `Display`."""
        super().__init__(steps, what)
        self._said: dict[str, float] = {}

    def tell(self, what: str, share: float) -> None:
        """Show how much of some work is done: on the bar, or else in a line now and then."""
        self.bar.update(self.task, total=1.0, completed=share, what=what)
        now = time.monotonic()
        if what not in self._said:
            self._say(now, what, what)
        elif self.bar.disable and (share == 1 or now - self._said[what] >= LOG_SECONDS):
            self._say(now, what, f"{what}: {share:.0%}")

    def __call__(self, entry: "Entry") -> None:
        """Show an entry of training."""
        self.bar.update(self.task, total=sum(self.steps))
        super().__call__(entry)

    def _say(self, now: float, what: str, line: str) -> None:
        self._said[what] = now
        self.say(line)
