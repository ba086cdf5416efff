"""A result on its way to a client, which may read slowly: small ones from memory, large ones from disk, in pieces."""

import io
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from adadsr.serving.uploads import SPOOL_BYTES

PIECE_BYTES = 256 * 2**10
"""A client must read this much within `Settings.upload_limit`."""


async def respond(content: bytes, headers: dict[str, str], media_type: str) -> Response:
    """The answer with a file. Raises OSError if the disk is full."""
    if len(content) <= PIECE_BYTES:
        return Response(content, headers=headers, media_type=media_type)
    file = io.BytesIO(content) if len(content) <= SPOOL_BYTES else await run_in_threadpool(_on_disk, content)
    return StreamingResponse(
        _pieces(file), headers={**headers, "Content-Length": str(len(content))}, media_type=media_type
    )


def _on_disk(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        file.write(content)
        file.seek(0)
    except OSError:
        file.close()
        raise
    return file


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """The content; closes the file, also when the client leaves."""
    with file:
        while piece := await run_in_threadpool(file.read, PIECE_BYTES):
            yield piece
