"""A request's body as a file: streamed to a spooled one, as multipart or raw."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from adadsr.serving.problems import INVALID, LEFT, Problem

SPOOL_BYTES = 2**20
"""Uploads and results up to this size stay in memory."""
FIELD = "image"
MOST_FIELDS = 8
LONGEST_NAME = 200


class Upload:
    """An image file that arrived. name: its file name, for messages and the name of the result; may be empty."""

    def __init__(self, file: IO[bytes], name: str, size: int) -> None:
        self._file, self.name, self.size = file, name, size

    def head(self, size: int) -> bytes:
        """Its first bytes."""
        self._file.seek(0)
        return self._file.read(size)

    def content(self) -> bytes:
        """All of it. Takes its size in memory."""
        self._file.seek(0)
        return self._file.read()


@asynccontextmanager
async def receive(request: Request) -> AsyncIterator[Upload | None]:
    """The image in a body; None for an empty one. Raises Problem for a form without it.

    Nothing is kept after the block.
    """
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
            async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
                yield _of_form(form.get(FIELD))
            return
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
            size = 0
            async for chunk in request.stream():
                if size + len(chunk) > SPOOL_BYTES:
                    await run_in_threadpool(file.write, chunk)
                else:
                    file.write(chunk)
                size += len(chunk)
            yield Upload(file, safe_name(request.query_params.get("name", "")), size) if size else None
    except ClientDisconnect:
        raise Problem(LEFT, "the client left before its request was complete") from None


def _of_form(part: UploadFile | str | None) -> Upload:
    if not isinstance(part, UploadFile):
        raise Problem(INVALID, f"the form has no file named {FIELD}; send it as curl -F {FIELD}=@photo.jpg does")
    return Upload(part.file, safe_name(part.filename or ""), part.size or 0)


def safe_name(name: str) -> str:
    """A file name without folders and control characters; may be empty."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(character for character in last if character.isprintable())[:LONGEST_NAME]
