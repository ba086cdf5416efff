"""`adadsr convert`: a published checkpoint -> a file of our own format."""

import os
from pathlib import Path
from typing import Annotated

import typer

from adadsr.cli.options import path_of

SUFFIX = ".safetensors"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A checkpoint of AdaDSR, EDSR-PyTorch, RCAN, BasicSR, ESRGAN or Compact.",
            show_default=False,
            parser=path_of,
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="The file to write, ending in .safetensors.", show_default=False, parser=path_of
        ),
    ],
    res_scale: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="Residual scale of EDSR, which checkpoints do not store. "
            "[dim]\\[default: 0.1 for 32 blocks of 256 features in namings that use it, otherwise 1][/dim]",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16, at half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Convert a published checkpoint to our format.

    The result goes to [b]--model[/b] of the other commands.

    The naming and the network are detected from the tensors. A file that does not fit is refused
    with a list of all missing, unexpected and misshapen tensors.

    [b]Example[/b]
      adadsr convert EDSR_x2.pt edsr-x2.safetensors --half
    """
    _check_target(source, target, overwrite)
    from adadsr import checkpoints

    dtype = "float16" if half else "float32"
    conversion = checkpoints.convert(source, target, res_scale=res_scale, dtype=dtype)
    network, size = checkpoints.describe(conversion.model.config), target.stat().st_size / 1e6
    typer.echo(f"{source} -> {target}: {network}, {conversion.naming} naming, {size:.1f} MB")
    for note in conversion.notes:
        typer.echo(f"  {note}")


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise typer.BadParameter(f"{target} does not end in {SUFFIX}", param_hint="OUT")
    if os.path.isdir(target):
        raise typer.BadParameter(f"{target} is a folder; pass a file name", param_hint="OUT")
    if os.path.exists(target):
        if os.path.exists(source) and os.path.samefile(source, target):
            raise typer.BadParameter(f"{target} is the input; choose another name", param_hint="OUT")
        if not overwrite:
            raise typer.BadParameter(f"{target} already exists; pass --overwrite to replace it", param_hint="OUT")
    if not os.path.isdir(target.parent):
        raise typer.BadParameter(f"folder {target.parent} does not exist; create it first", param_hint="OUT")
