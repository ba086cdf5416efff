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
    from rich.text import Text

    from adadsr.checkpoints import bundled_models

    found = bundled_models()
    if as_json:
        typer.echo(json.dumps([_as_json(model) for model in found], indent=2))
        return
    if not found:
        typer.echo("No models are bundled with this installation; give a file or a hub id to --model.")
        return
    console = Console()
    table = Table("name", "scale", "network", "blocks", "features", "a depth for each", "size")
    for model in found:
        table.add_row(*_cells(model))
    console.print(table)
    for model in found:
        about = Table.grid(padding=(0, 2))
        for key, value in model.metadata.items():
            about.add_row(Text(f"  {key}"), Text(value))
        console.print(f"\n[b]{model.name}[/b]", about)


def _cells(model: "BundledModel") -> tuple[str, ...]:
    config = model.config
    side = config.depth_tile
    blocks = f"{config.n_groups} x {config.n_resblocks}" if config.n_groups > 1 else str(config.n_resblocks)
    unit = ("pixel" if side == 1 else f"{side}x{side} pixels") if config.adaptive else "-"
    size = f"{model.bytes / 1e6:.1f} MB"
    return model.name, f"x{config.scale}", config.kind, blocks, str(config.n_feats), unit, size


def _as_json(model: "BundledModel") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": model.name,
        "kind": model.config.kind,
        **asdict(model.config),
        "bytes": model.bytes,
        "metadata": model.metadata,
    }
