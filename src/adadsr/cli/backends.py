"""`adadsr backends`: what can run a network's body here."""

import json
from typing import Annotated

import typer


def backends(
    device: Annotated[str, typer.Option(help="The device to ask about; auto takes CUDA where there is one.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again what the native engine chooses its algorithms by.")
    ] = False,
) -> None:
    """List the backends that run a network's body, and whether they can run here."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from adadsr.cli.loading import chosen_device
    from adadsr.errors import InputError
    from adadsr.sparse.backends import BACKENDS

    name = chosen_device(device)
    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {device}: no such device; `cpu` and `cuda` are common ones") from error
    if measure:
        _measure()
        return
    missing = {key: backend.missing(place) for key, backend in BACKENDS.items()}
    if as_json:
        rows = [
            {"name": key, "description": backend.description, "device": name, "missing": missing[key]}
            for key, backend in BACKENDS.items()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("backend", "what it does", f"on {name}")
    for key, backend in BACKENDS.items():
        table.add_row(key, backend.description, missing[key] or "available")
    Console().print(table)


CHANNELS = (64, 256)
"""Features of the networks that are published."""


def _measure() -> None:
    """Measure the native engine's algorithms here, for all threads and the fastest instruction set."""
    import torch

    from adadsr.errors import BackendError
    from adadsr.sparse import extension

    reason = extension.missing(torch.device("cpu"))
    if reason is not None:
        raise BackendError(f"there is nothing to measure: the native engine cannot run; {reason}")
    from adadsr.sparse import cost_model
    from adadsr.sparse.workspaces import chosen_isa

    isa, threads = chosen_isa(None), torch.get_num_threads()
    for channels in CHANNELS:
        worth = cost_model.measure(channels, isa, threads)
        typer.echo(
            f"{channels} channels, {isa}, {threads} threads: a tile of 16 pixels takes as long as {worth:.2f} alone"
        )
    try:
        typer.echo(cost_model.cache_file())
    except RuntimeError:
        typer.echo(f"not kept: there is no home folder; {cost_model.FOLDER_VARIABLE} says where else")
