"""The subcommands together. Adding one is a module with a function and a line here."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from adadsr import __version__
from adadsr.cli import (
    FAILED,
    INTERRUPTED,
    adapt,
    backends,
    batch,
    convert,
    evaluate,
    export,
    models,
    serve,
    train,
    upscale,
)
from adadsr.errors import AdaDSRError


class Commands(TyperGroup):
    """The subcommands. An error raised on purpose ends one with a line, Ctrl-C with status 130 and its advice."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand. ctx: typer's context."""
        try:
            return super().invoke(ctx)
        except AdaDSRError as error:
            typer.echo(f"adadsr: {error}", err=True)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            typer.echo("; ".join(("adadsr: interrupted", *map(str, error.args))), err=True)
            raise typer.Exit(INTERRUPTED) from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of subcommands in plain text: importing rich would take longer than all the rest."""
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(upscale.upscale)
app.command()(batch.batch)
app.command()(serve.serve)
app.command()(evaluate.evaluate)
app.command()(models.models)
app.command()(backends.backends)
app.command()(convert.convert)
app.command()(export.export)
app.command()(adapt.adapt)
app.command(context_settings=train.FORWARDED)(train.train)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adadsr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Upscale images with a network that works only as hard as each region needs."""
