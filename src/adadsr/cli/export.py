"""`adadsr export`: a model -> an ONNX file for other runtimes."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adadsr.cli.options import path_of, wrong_usage

if TYPE_CHECKING:
    from adadsr.export import Exported, Int8

SUFFIX = ".onnx"
INT8_LOSS = 0.1


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Bundled model, checkpoint file, or Hugging Face id.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.onnx", help="The file to write.", show_default=False, parser=path_of
        ),
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(
            "--web",
            metavar="DIR",
            help="Write a page that upscales in the browser, for any web server.",
            show_default=False,
            parser=path_of,
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --web: the npm package onnxruntime-web; fetched by npm if not given.",
            parser=path_of,
        ),
    ] = None,
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
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --dense: convolutions in int8, calibrated on half of DIR's photos.",
            show_default=False,
            parser=path_of,
        ),
    ] = None,
    int8_loss: Annotated[
        float, typer.Option(metavar="DB", help="The most PSNR-Y that int8 may lose on the other half of the photos.")
    ] = INT8_LOSS,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare the file with adadsr in ONNX Runtime and OpenVINO; keep it only if it is right."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file, or the page in DIR.")
    ] = False,
) -> None:
    """Write a model as ONNX, for runtimes without Python.

    The file takes an image of any size and a budget, and computes only what the budget pays for.

    [b]Examples[/b]
      adadsr export adaedsr-baseline-x2 -o upscale.onnx --verify
      adadsr export edsr-baseline-x2 -o fixed.onnx --dense --size 512x512 --image float32
      adadsr export adaedsr-baseline-x2 --web site
    """
    if (output is None) == (web is None):
        raise typer.BadParameter("pass a file with --output, or a folder with --web", param_hint="--output")
    _check_unused({"--int8-loss": int8 is None and int8_loss != INT8_LOSS}, "needs --int8")
    _check_unused({"--runtime": web is None and runtime is not None}, "needs --web")
    if web is not None:
        _check_folder(web, overwrite)
        no_file = {"--image": image != "uint8", "--dense": dense, "--size": size, "--int8": int8, "--verify": verify}
        _check_unused(no_file, "does not apply to --web")
        _export_site(model, web, half, runtime)
        return
    assert output is not None
    _check_output(output, overwrite)
    from adadsr import export as exporting

    with wrong_usage():
        form = exporting.Form(image, half=half, dense=dense, size=None if size is None else _parse_size(size))
        calibration = None if int8 is None else _calibration(model, int8, int8_loss)
        runtimes = list(exporting.RUNTIMES) if verify else ()
        exported = exporting.export(model, output, form, runtimes=runtimes, int8=calibration)
    _report(exported)


def _calibration(model: str, folder: Path, most_loss: float) -> "Int8":
    """Photos of a folder for int8."""
    from adadsr import checkpoints
    from adadsr.evaluation.benchmark import load_pair, open_benchmark
    from adadsr.export import Int8

    scale = checkpoints.load_model(model).config.scale
    pairs = [load_pair(sample, scale) for sample in open_benchmark(folder, scale).samples]
    return Int8([(pair.lr, pair.hr) for pair in pairs], most_loss)


def _export_site(model: str, folder: Path, half: bool, runtime: Path | None) -> None:
    from adadsr import export as exporting

    site = exporting.export_site(model, folder, half=half, runtime=runtime)
    typer.echo(f"{site.path}: {site.bytes / 1e6:.1f} MB")
    typer.echo(f"  to try it: python -m http.server -d {shlex.quote(str(site.path))} -b 127.0.0.1")


def _check_unused(given: Mapping[str, object], reason: str) -> None:
    """Refuse the first option that has a value, though it has no effect."""
    for option, value in given.items():
        if value:
            raise typer.BadParameter(reason, param_hint=option)


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file; pass a folder", param_hint="--web")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise typer.BadParameter(f"{folder} has files; pass --overwrite to replace the page in it", param_hint="--web")
    if not folder.absolute().parent.is_dir():
        raise typer.BadParameter(f"folder {folder.parent} does not exist; create it first", param_hint="--web")


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
    if exported.loss is not None:
        typer.echo(f"  int8 loses {exported.loss:.3f} dB of PSNR-Y against float32")
    for each in exported.differences:
        typer.echo(
            f"  {each.runtime}: {each.runs} runs, pixels within {each.pixel:.4f} of 255, "
            f"{each.depths:.2%} of a depth map differs at most"
        )
