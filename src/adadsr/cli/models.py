"""`adadsr models`: the bundled models, their quality and their origin."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adadsr.checkpoints import BundledModel

SHARES = ("100", "50", "25")
"""Percentages of the body that the table has a column for."""


def models(
    details: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|ORG/NAME",
            help="Everything about one model: recipe, data, licence, origin.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundled models and their quality.

    Their names go to [b]--model[/b] of the other commands.
    """
    from adadsr.checkpoints import bundled_models, described_model

    if details is not None:
        model = described_model(details)
        typer.echo(json.dumps(_as_json(model), indent=2)) if as_json else _show_details(model)
        return
    found = bundled_models()
    if as_json:
        typer.echo(json.dumps([_as_json(model) for model in found], indent=2))
    elif not found:
        typer.echo("This installation has no bundled models; pass a file or a Hugging Face id to --model.")
    else:
        _show_table(found)


def _show_table(found: "list[BundledModel]") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("name", no_wrap=True)
    for share in SHARES:
        table.add_column(f"{share}%", justify="right", no_wrap=True)
    table.add_column("what it is for")
    for model in found:
        quality = json.loads(model.metadata.get("quality", "{}"))
        cells = [f"{quality[share]:.2f}" if share in quality else "-" for share in SHARES]
        table.add_row(model.name, *cells, model.metadata.get("summary", ""))
    console = Console()
    console.print(table)
    console.print("Figures: PSNR-Y in dB on the validation photos when that share of the body runs.", highlight=False)


def _show_details(model: "BundledModel") -> None:
    from adadsr.checkpoints import describe

    typer.echo(f"{model.name}: {describe(model.config)}, {model.bytes / 1e6:.1f} MB")
    for key, value in sorted(model.metadata.items()):
        typer.echo(f"  {key}: {value}")


def _as_json(model: "BundledModel") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": model.name,
        "kind": model.config.kind,
        **asdict(model.config),
        "bytes": model.bytes,
        "metadata": model.metadata,
    }
