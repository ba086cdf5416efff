"""`adadsr serve`: the page and the HTTP API."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from adadsr.cli.options import Backend, MaxPixels, Threads, parse_bytes, path_of, wrong_usage

_LIMITS, _ACCESS, _BUSY = "Limits", "Who may call", "When it is busy"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="FILE", help="Also offer a checkpoint file; repeat for several."),
    ] = None,
    backend: Backend = None,
    threads: Threads = None,
    memory: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes,
            metavar="SIZE",
            help="Memory of all requests together, such as 800M or 16G. [dim]\\[default: 4G][/dim]",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    max_upload: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes,
            metavar="SIZE",
            help="Refuse larger requests. [dim]\\[default: 64M][/dim]",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Limit on one request.", rich_help_panel=_LIMITS)
    ] = 120.0,
    target_wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Budgets fall when the wait would be longer.", rich_help_panel=_BUSY),
    ] = 10.0,
    least_budget: Annotated[
        float, typer.Option(metavar="SHARE", help="Lowest budget that a busy service may use.", rich_help_panel=_BUSY)
    ] = 0.5,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Require an API key, one a line in FILE; also from ADADSR_API_KEYS.",
            rich_help_panel=_ACCESS,
            parser=path_of,
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Let pages of this site call, such as https://photos.example; repeat for several.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
) -> None:
    """Open a page and an HTTP API in one process.

    Without options only this machine can connect. /openapi.json describes the API.
    """
    from adadsr.errors import MissingDependencyError

    missing = [name for name in ("fastapi", "uvicorn", "multipart", "prometheus_client") if not _is_there(name)]
    if missing:
        raise MissingDependencyError(f"serve needs {', '.join(missing)}; pip install 'adadsr[serve]'")
    from adadsr import serving
    from adadsr.serving import Settings

    with wrong_usage():
        settings = Settings(
            host=host,
            port=port,
            models=tuple(model or ()),
            backend=backend,
            threads=threads,
            time_limit=time_limit,
            target_wait=target_wait,
            least_budget=least_budget,
            keys=serving.read_keys(keys),
            origins=tuple(origin or ()),
            memory=memory or Settings.memory,
            max_pixels=max_pixels or Settings.max_pixels,
            max_upload=max_upload or Settings.max_upload,
        )

    def ready(port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"adadsr: serving at http://{shown}:{port}", err=True)

    serving.share_one_heap()
    serving.serve(serving.create_app(settings), settings, ready)


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
