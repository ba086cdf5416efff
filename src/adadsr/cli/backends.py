"""`adadsr backends`: what can run a network here."""

import itertools
import json
from typing import Annotated

import typer

CHANNELS = (64, 256)
"""Features of the published networks."""


def backends(
    device: Annotated[str, typer.Option(help="Device to ask about; auto picks CUDA if available.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Time convs of the native engine and the bundled networks on this machine, which should be idle; "
            "[b]--seconds[/b] needs it once.",
        ),
    ] = False,
) -> None:
    """List the backends and whether they can run here."""
    from rich.console import Console
    from rich.table import Table

    from adadsr.backends import BACKENDS, auto_device, check_device

    if measure:
        if as_json:
            raise typer.BadParameter("--measure prints lines as it goes; drop --json")
        _measure()
        return
    name = auto_device() if device == "auto" else device
    check_device(name)
    missing = {key: backend.missing(name) for key, backend in BACKENDS.items()}
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


def _measure() -> None:
    """Measure, in each precision and with the default threads, above how many active pixels a tile runs whole, and how
    long the bundled networks take."""
    from adadsr.backends import native
    from adadsr.errors import BackendError
    from adadsr.machine import CACHE_VARIABLE, default_threads

    reason = native.missing()
    if reason is not None:
        raise BackendError(f"nothing to measure: the native engine cannot run ({reason})")
    from adadsr.backends.native import tile_threshold
    from adadsr.backends.native.workspaces import isas_by_precision

    by_precision, threads = isas_by_precision(), default_threads()
    try:
        for isa in by_precision.values():
            for channels in CHANNELS:
                pixels = tile_threshold.measure(channels, isa, threads)
                typer.echo(
                    f"{channels} channels, {isa}, {threads} threads: a 4x4 tile costs as much as {pixels:.1f} single "
                    "pixels"
                )
        typer.echo(tile_threshold.cache_file())
        _measure_times(tuple(by_precision))
    except (OSError, RuntimeError) as error:
        raise BackendError(f"cannot store the result ({error}); set {CACHE_VARIABLE} to a writable folder") from error


def _measure_times(precisions: tuple[str, ...]) -> None:
    """Measure how long the bundled networks take in each precision, with the default threads."""
    from adadsr.checkpoints import bundled_models
    from adadsr.upscaler import Execution, Upscaler, measuring, timing

    for model, precision in itertools.product(bundled_models(), precisions):
        found = measuring.measure(Upscaler.from_pretrained(model.name, Execution(precision=precision)))
        per_mac = found.sparse or found.dense  # noise may hide the body of the small pictures that are measured
        body = f"{1 / per_mac / 1e9:.0f} GMAC of the body per second" if per_mac else "no time of the body to be seen"
        typer.echo(f"{model.name}, {precision}: {found.pixel * 1e6:.2f} s per megapixel, and {body}")
    typer.echo(timing.cache_file())
