"""`adadsr models`: what is bundled."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adadsr.checkpoints import BundledModel


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """List the models that come with the package: each name can be given to [b]--model[/b]."""
    from rich.console import Console
    from rich.table import Table

    from adadsr.checkpoints import bundled_models

    found = bundled_models()
    if as_json:
        typer.echo(json.dumps([_as_json(model) for model in found], indent=2))
        return
    if not found:
        typer.echo("No models are bundled with this installation; give a file or a hub id to --model.")
        return
    table = Table("name", "network", "one depth for each", "size", "about", show_lines=True)
    for model in found:
        table.add_row(*_cells(model))
    Console().print(table)


def _cells(model: "BundledModel") -> tuple[str, str, str, str, str]:
    """Name, network, the depth map's unit, size on disk, and what the header says."""
    from adadsr.checkpoints import describe

    side = model.config.depth_tile
    unit = ("pixel" if side == 1 else f"{side}x{side} tile") if model.config.adaptive else "-"
    about = "\n".join(f"{key}: {value}" for key, value in model.metadata.items() if key != "name")
    return model.name, describe(model.config), unit, f"{model.bytes / 1e6:.1f} MB", about


def _as_json(model: "BundledModel") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": model.name,
        "kind": model.config.kind,
        **asdict(model.config),
        "bytes": model.bytes,
        "metadata": model.metadata,
    }
