"""`adadsr evaluate`: figures, executed cost and time on benchmark folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import (
    Backend,
    Device,
    Memory,
    Precision,
    Threads,
    Tile,
    execution_of,
    not_empty,
    on_device,
    path_of,
    resumable,
    wrong_usage,
)

if TYPE_CHECKING:
    from adadsr.evaluation import Evaluation, EvaluationOptions, Row

Datasets = Annotated[
    list[str],
    typer.Argument(
        metavar="DATASET...",
        callback=not_empty,
        help="Data sets: folder names below --data-root, such as Set5, or paths. A folder holds HR images, or HR/ and "
        "LR_bicubic/X2/.",
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE|ORG/NAME",
        help="A bundled model, a checkpoint file, a Hugging Face id, or a baseline: bicubic, bicubic-rgb, lanczos. "
        "Repeatable.",
    ),
]
Budgets = Annotated[
    list[float] | None,
    typer.Option("--budget", "-b", metavar="SHARE", help="Share of the full network's cost, (0, 1]. Repeatable."),
]
Depths = Annotated[
    list[float] | None,
    typer.Option("--depth", "-d", metavar="BLOCKS", help="Desired depth, in residual blocks. Repeatable."),
]
MaxLosses = Annotated[
    list[float] | None,
    typer.Option("--max-loss", metavar="DB", help="Maximum predicted PSNR loss in dB against full depth. Repeatable."),
]


def evaluate(
    datasets: Datasets,
    model: Models,
    scale: Annotated[int, typer.Option("--scale", "-s", metavar="2|3|4", help="How many times wider and higher.")] = 2,
    budget: Budgets = None,
    depth: Depths = None,
    max_loss: MaxLosses = None,
    degrade: Annotated[
        list[str] | None,
        typer.Option(
            metavar="jpeg:75|noise:5|blur:0.5",
            help="Compress, add noise to or blur the LR images before they are enlarged. Repeatable, in this order.",
        ),
    ] = None,
    data_root: Annotated[
        Path,
        typer.Option(
            metavar="DIR", envvar="ADADSR_DATA_ROOT", help="Folder that contains the data sets.", parser=path_of
        ),
    ] = Path("."),
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Output folder for tables, plots and images.", parser=path_of),
    ] = Path("evaluation"),
    self_ensemble: Annotated[
        bool,
        typer.Option(
            "--self-ensemble", help="Average over the eight flips and rotations of each image (x8 self-ensemble)."
        ),
    ] = False,
    save_images: Annotated[bool, typer.Option("--save-images", help="Save every SR image as PNG.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming an interrupted run.")] = False,
    device: Device = "auto",
    backend: Backend = None,
    precision: Precision = "float32",
    tile: Tile = None,
    memory: Memory = None,
    threads: Threads = None,
    border: Annotated[
        str,
        typer.Option(
            metavar="zero|reflect",
            help="What networks see beyond the border: zeros, as figures in the literature are measured, or the image "
            "continued by reflection, as `adadsr upscale` does.",
        ),
    ] = "zero",
) -> None:
    """Evaluate models on data sets: PSNR, SSIM, executed cost and time, as tables and plots.

    Repeat an interrupted command to resume it.
    """
    from adadsr.degradation import Degradation
    from adadsr.evaluation import EvaluationOptions

    execution = execution_of(device, backend, tile, memory, precision, threads, border)
    with wrong_usage():
        options = EvaluationOptions(
            datasets=tuple(datasets),
            models=tuple(model),
            scale=scale,
            out=out,
            data_root=data_root,
            depths=tuple(depth or ()),
            budgets=tuple(budget or ()),
            max_losses=tuple(max_loss or ()),
            execution=on_device(execution),
            degradations=tuple(Degradation.parse(step) for step in degrade or ()),
            self_ensemble=self_ensemble,
            save_images=save_images,
            fresh=fresh,
        )
    with resumable(fresh):
        done = _with_progress(options)
    _print_rows(done.rows)
    for path in done.files:
        typer.echo(path)
    for note in done.notes:
        typer.echo(f"adadsr: {note}", err=True)


def _with_progress(options: "EvaluationOptions") -> "Evaluation":
    """Run with a bar on stderr; without one if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from adadsr.evaluation import evaluate as run

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.fields[stage]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[what]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600,  # images differ: the speed of the last few seconds says little
    )
    with bar:
        tasks = {}

        def progress(stage: str, what: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0, stage=stage, what=what)
            bar.update(tasks[stage], completed=share, what=what)

        return run(options, progress)


def _print_rows(rows: "list[Row]") -> None:
    from rich.console import Console
    from rich.table import Table

    from adadsr.evaluation.results import COLUMNS, SHORT

    for dataset in dict.fromkeys(row.case.dataset for row in rows):
        table = Table(title=f"{dataset}, x{rows[0].case.scale}", title_justify="left")
        for name, _ in COLUMNS:
            if name in SHORT:
                table.add_column(name, overflow="fold")
        for row in rows:
            if row.case.dataset == dataset:
                table.add_row(*(text(row) for name, text in COLUMNS if name in SHORT))
        Console().print(table)
