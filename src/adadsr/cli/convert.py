"""`adadsr convert`: a published checkpoint -> a file of our own format."""

import os
from pathlib import Path
from typing import Annotated

import typer

SUFFIX = ".safetensors"


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A checkpoint of AdaDSR, EDSR-PyTorch, RCAN or BasicSR.", show_default=False),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write, ending in .safetensors.", show_default=False)
    ],
    res_scale: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="EDSR's residual scale, which the tensors do not hold. "
            "[dim]\\[default: 0.1 for 32 blocks of 256 features where the naming used it, else 1][/dim]",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Convert a published checkpoint for use with [b]--model[/b].

    Naming and network are recognised from the tensors.
    What does not fit is refused, with every missing, unexpected and misshapen name.

    [b]Example[/b]
      adadsr convert EDSR_x2.pt edsr-x2.safetensors --half
    """
    _check_target(source, target, overwrite)
    import torch

    from adadsr import checkpoints

    dtype = torch.float16 if half else torch.float32
    conversion = checkpoints.convert(source, target, res_scale=res_scale, dtype=dtype)
    network, size = checkpoints.describe(conversion.network.config), target.stat().st_size / 1e6
    typer.echo(f"{source} -> {target}: {network}, in the naming of {conversion.naming}, {size:.1f} MB")
    for note in conversion.notes:
        typer.echo(f"  {note}")


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise typer.BadParameter(f"{target} does not end in {SUFFIX}", param_hint="OUT")
    if os.path.isdir(target):
        raise typer.BadParameter(f"{target} is a folder; give the name of a file", param_hint="OUT")
    if os.path.exists(target):
        if os.path.exists(source) and os.path.samefile(source, target):
            raise typer.BadParameter(f"{target} is the input; give another name", param_hint="OUT")
        if not overwrite:
            raise typer.BadParameter(f"{target} exists already; pass --overwrite to replace it", param_hint="OUT")
    if not os.path.isdir(target.parent):
        raise typer.BadParameter(f"there is no folder {target.parent}; create it first", param_hint="OUT")
