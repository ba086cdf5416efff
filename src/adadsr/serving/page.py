"""The page at `/`: static files of `adadsr.web`, read once."""

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

WEB = Path(__file__).parents[1] / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {"/": WEB / "index.html"} | {f"/{path.name}": path for path in sorted(WEB.iterdir()) if path.suffix in TYPES}
"""The file at each path."""


def router() -> APIRouter:
    """A route for each file; nothing else of the disk can be named."""
    routes = APIRouter(include_in_schema=False)
    for address, path in FILES.items():
        _add(routes, address, path)
    return routes


def _add(routes: APIRouter, address: str, path: Path) -> None:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)

    routes.add_api_route(address, file, methods=["GET"])
