"""`adadsr batch`: a collection on Ray, from a laptop to a cluster."""

from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli import FAILED, INTERRUPTED
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
    Tile,
    execution_of,
    not_empty,
    wrong_usage,
)
from adadsr.cli.upscale_options import (
    AcceptDamaged,
    Background,
    Height,
    LinearLight,
    LongSide,
    Megapixels,
    Name,
    OutputFormat,
    Page,
    Quality,
    Quiet,
    Scale,
    Suffix,
    Width,
    naming_of,
    size_of,
)

if TYPE_CHECKING:
    from adadsr.cluster import Collection, Outcome, Resources

_WHERE, _BUDGET = "Where it runs", "Budget of the collection"


def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            callback=not_empty,
            help="Folder, s3://, gs:// or az:// prefix, or a list of images: .txt, .csv or .parquet.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            callback=not_empty,
            help="Folder or prefix of the outputs and the manifest.",
            show_default=False,
        ),
    ],
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a Ray cluster, such as auto or ray://head:10001. [dim]\\[default: this machine][/dim]",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Of each worker on CPUs.", rich_help_panel=_WHERE)] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most workers. [dim]\\[default: as many as fit the cluster][/dim]", rich_help_panel=_WHERE
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="--budget or --max-loss is that of the whole collection, spent where it brings most.",
            rich_help_panel=_BUDGET,
        ),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="The budget that fits into this time, shared.", rich_help_panel=_BUDGET),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare the outputs in DST with the manifest; SRC is not read.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew: forget the manifest, and replace existing outputs.")
    ] = False,
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
    budget: Budget = None,
    depth: Depth = None,
    max_loss: MaxLoss = None,
    device: Device = "auto",
    backend: Backend = None,
    precision: Precision = "float32",
    tile: Tile = None,
    memory: Memory = None,
    max_pixels: MaxPixels = None,
    border: Border = "reflect",
    accept_damaged: AcceptDamaged = False,
    page: Page = None,
    quiet: Quiet = False,
) -> None:
    """Upscale a collection on all cores or on a Ray cluster, with a manifest in DST/_adadsr.

    Repeat the command to resume: what the manifest lists is not done again.
    A bad file does not stop the others: it is in the manifest with its reason, and the status is 1.

    [b]A folder[/b]
      adadsr batch photos/ out/

    [b]A bucket on a cluster, half the cost for all together[/b]
      adadsr batch s3://photos/2026 s3://large/2026 --address auto --budget 0.5 --shared
    """
    _check_installed()
    from adadsr import batch as files
    from adadsr import cluster, images
    from adadsr.upscaler import Target

    if verify:
        _verify(destination)
        return
    with wrong_usage():
        size = size_of(scale, width, height, long_side, megapixels)
        options = files.Options(
            Target(depth, budget, max_loss),
            quality,
            max_pixels or images.DEFAULT_MAX_PIXELS,
            overwrite,
            accept_damaged,
            None if background is None else images.parse_color(background),
            page=page,
        )
        collection = cluster.Collection(
            source,
            destination,
            model,
            size,
            execution_of(device, backend, tile, memory, precision, None, border),
            options,
            linear_light,
            None if format is None else f".{format}",
            naming_of(suffix, name, None if size is None or size.scale is None else f"{size.scale:g}"),
            shared,
            hours,
        )
        resources = cluster.Resources(address, cores, workers)
    _run(collection, resources, quiet=quiet)


def _check_installed() -> None:
    from adadsr.errors import MissingDependencyError

    try:
        import pyarrow
        import ray
    except ImportError as error:
        raise MissingDependencyError(f"batch needs {error.name}; pip install 'adadsr[cluster]'") from error
    del pyarrow, ray


def _verify(destination: str) -> None:
    from adadsr import cluster

    checked, wrong = cluster.verify(destination)
    for each in wrong:
        typer.echo(f"adadsr: {each}", err=True)
    typer.echo(f"{checked - len(wrong)} of {checked} outputs are as the manifest says")
    if wrong:
        raise typer.Exit(FAILED)


def _run(collection: "Collection", resources: "Resources", *, quiet: bool) -> None:
    from adadsr import cluster
    from adadsr.cli import batch_display

    with batch_display.watch(quiet=quiet) as progress:
        outcome = cluster.run(collection, resources, progress=progress)
    batch_display.show_end(outcome, quiet=quiet)
    _exit(outcome)


def _exit(outcome: "Outcome") -> None:
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)
    if outcome.failures or outcome.failed:
        raise typer.Exit(FAILED)
