"""Options that only `adadsr upscale` has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from adadsr.cli.options import not_empty, path_of, wrong_usage
from adadsr.formats import FORMATS, find_format, joined

if TYPE_CHECKING:
    from adadsr.batch import Naming
    from adadsr.upscaler import Size

_SIZE, _OUTPUT, _RARE = "Size", "Output", "Rarely needed"
_LOSSY = [each for each in FORMATS if not each.is_lossless]


def _check_format(name: str | None) -> str | None:
    """`name` in lower case if it is a format."""
    if name is None:
        return None
    with wrong_usage():
        find_format(name)
    return name.lower().removeprefix(".")


Inputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        callback=not_empty,
        help='Images, folders, or quoted patterns such as "scans/*.tif"; - is standard input.',
        show_default=False,
    ),
]
Output: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        callback=not_empty,
        help="Output file, if the input is one file and OUT has an image suffix; otherwise a folder. "
        "- is standard output.",
        show_default=False,
    ),
]
Scale: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--scale",
        "-s",
        metavar="FACTOR",
        help="Such as 2, 2.5 or 8: networks run one after the other, then one reduction makes the size exact. "
        "[dim]\\[default: that of --model, otherwise 2][/dim]",
        rich_help_panel=_SIZE,
    ),
]
Width: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="PIXELS", help="Width of the outputs; with --height, both are limits.", rich_help_panel=_SIZE),
]
Height: TypeAlias = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Height of the outputs.", rich_help_panel=_SIZE)
]
LongSide: TypeAlias = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="The larger of width and height.", rich_help_panel=_SIZE)
]
Megapixels: TypeAlias = Annotated[
    float | None, typer.Option(metavar="COUNT", help="Width times height, in millions.", rich_help_panel=_SIZE)
]
LinearLight: TypeAlias = Annotated[
    bool,
    typer.Option("--linear-light", help="Average light instead of samples in the reduction.", rich_help_panel=_SIZE),
]
OutputFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        callback=_check_format,
        help=f"Format of the output files: {', '.join(each.suffixes[0][1:] for each in FORMATS)}; gif for animations. "
        "[dim]\\[default: that of each input][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Quality: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        metavar="1-100",
        help=f"Quality of {joined(each.name for each in _LOSSY)} files. 100 is lossless for "
        f"{joined(each.name for each in _LOSSY if each.is_lossless_at_100)}. "
        f"[dim]\\[default: {', '.join(f'{each.name} {each.default_quality}' for each in _LOSSY)}][/dim]",
        rich_help_panel=_OUTPUT,
    ),
]
Suffix: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="End of the outputs' names, such as _x2. Without -o they go beside the inputs.",
        rich_help_panel=_OUTPUT,
    ),
]
Name: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help='Names of the outputs, such as "{stem}_{scale}x{ext}". Without -o they go beside the inputs.',
        rich_help_panel=_OUTPUT,
    ),
]
Background: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="COLOR",
        help="Flatten transparent images onto a color, as JPEG needs: white, #rrggbb, ...",
        rich_help_panel=_OUTPUT,
    ),
]
KeepTime: TypeAlias = Annotated[
    bool,
    typer.Option("--keep-time", help="Give outputs the modification time of their inputs.", rich_help_panel=_RARE),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace existing outputs instead of skipping them.", rich_help_panel=_OUTPUT),
]
DepthMap: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--depth-map",
        help="Also write STEM.depth.png: how deep the network ran.",
        rich_help_panel=_RARE,
    ),
]
ReportFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write a JSON report with an entry for each image.",
        rich_help_panel=_RARE,
        parser=path_of,
    ),
]
AcceptDamaged: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--accept-damaged",
        help="Take what is left of a damaged PNG, JPEG or TIFF.",
        rich_help_panel=_RARE,
    ),
]
Page: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="NUMBER", help="Page of a TIFF, or frame of an animation.", rich_help_panel=_RARE),
]
Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Send the files to [b]adadsr serve[/b] at URL; its key is read from ADADSR_API_KEY.",
        rich_help_panel=_RARE,
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print a line per image.", rich_help_panel=_RARE)
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=_RARE)]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check every input and print what would run: cost, depth, tiles and memory. Nothing is written.",
        rich_help_panel=_OUTPUT,
    ),
]


def naming_of(suffix: str | None, name: str | None, scale: str | None) -> "Naming | None":
    """The names that --suffix or --name asks for, checked. scale: what {scale} stands for."""
    from adadsr.batch import Naming

    if suffix is not None and name is not None:
        raise typer.BadParameter("pass either --suffix or --name, not both")
    with wrong_usage():
        if suffix is not None:
            return Naming.of_suffix(suffix)
        return None if name is None else Naming(name, scale)


def size_of(
    scale: float | None, width: int | None, height: int | None, long_side: int | None, megapixels: float | None
) -> "Size | None":
    """The size that the options ask for, checked; None if they ask for none."""
    from adadsr.upscaler import Size

    if (scale, width, height, long_side, megapixels) == (None, None, None, None, None):
        return None
    with wrong_usage():
        return Size(scale, width, height, long_side, megapixels)
