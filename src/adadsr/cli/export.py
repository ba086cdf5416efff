"""`adadsr export`: a model -> an ONNX file for other runtimes."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import wrong_usage

if TYPE_CHECKING:
    from adadsr.export import Exported

SUFFIX = ".onnx"


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Bundled model, checkpoint file, or Hugging Face id.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.onnx", help="The file to write.")],
    image: Annotated[
        str,
        typer.Option(
            metavar="uint8|float32",
            help="Type of input and output: uint8, channels last, or float32 in 0..255, channels first.",
        ),
    ] = "uint8",
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16, at half the size.")] = False,
    dense: Annotated[
        bool, typer.Option("--dense", help="Full depth only, with nothing but convolutions, for any runtime.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="With --dense: the only size of input images, for fixed shapes."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare the file with adadsr in ONNX Runtime and OpenVINO; keep it only if it is right."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a model as ONNX, for runtimes without Python.

    The file takes an image of any size and a budget, and computes only what the budget pays for.

    [b]Examples[/b]
      adadsr export adaedsr-baseline-x2 -o upscale.onnx --verify
      adadsr export edsr-baseline-x2 -o fixed.onnx --dense --size 512x512 --image float32
    """
    _check_output(output, overwrite)
    from adadsr import export as exporting

    with wrong_usage():
        form = exporting.Form(image, half=half, dense=dense, size=None if size is None else _parse_size(size))
    _report(exporting.export(model, output, form, runtimes=list(exporting.RUNTIMES) if verify else ()))


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 512x512", param_hint="--size")
    return int(match[1]), int(match[2])


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix != SUFFIX:
        raise typer.BadParameter(f"{output} does not end in {SUFFIX}", param_hint="--output")
    if os.path.isdir(output):
        raise typer.BadParameter(f"{output} is a folder; pass a file name", param_hint="--output")
    if os.path.exists(output) and not overwrite:
        raise typer.BadParameter(f"{output} already exists; pass --overwrite to replace it", param_hint="--output")
    if not os.path.isdir(output.parent):
        raise typer.BadParameter(f"folder {output.parent} does not exist; create it first", param_hint="--output")


def _report(exported: "Exported") -> None:
    typer.echo(f"{exported.path}: {exported.bytes / 1e6:.1f} MB")
    for each in exported.differences:
        typer.echo(
            f"  {each.runtime}: {each.runs} runs, pixels within {each.pixel:.4f} of 255, "
            f"{each.depths:.2%} of a depth map differs at most"
        )
