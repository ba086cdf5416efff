"""`adadsr adapt`: a dense network becomes adaptive, from photos alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import wrong_usage
from adadsr.cli.train import Display, require_libraries

if TYPE_CHECKING:
    from adadsr.adaptation import Adaptation


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
            "--images", metavar="PHOTOS", help="Photos, or folders of them, searched recursively. Repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder for state, model and report.")],
    preset: Annotated[
        str,
        typer.Option(
            metavar="cpu|accelerator|quick",
            help="cpu: two hours on two cores for a network of 6 blocks. accelerator: a GPU. quick: minutes, to see it "
            "work.",
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
            help="Cache folder for crops and the network's own output. [dim]\\[default: adapt below the cache "
            "folder][/dim]",
            show_default=False,
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

    home = default_cache()
    with wrong_usage():
        options = Adaptation(
            model,
            tuple(images),
            out,
            preset,
            steps,
            precision,
            device,
            cache or (None if home is None else home.parent / "adapt"),
        )
    for path in _with_progress(options):
        typer.echo(path)


def _with_progress(options: "Adaptation") -> list[Path]:
    """Run with a bar on a terminal, and a line for each validation."""
    from adadsr.adaptation import adapt as run
    from adadsr.adaptation import stage_steps

    display = Display(stage_steps(options), "adapt")
    stages: dict[str, object] = {}

    def tell(what: str, share: float) -> None:
        display.bar.update(display.task, what=what if share == 1 else f"{what}: {share:.0%}")
        if what not in stages:
            stages[what] = None
            display.bar.console.print(what, highlight=False)

    with display.bar:
        return run(options, tell, [display])
