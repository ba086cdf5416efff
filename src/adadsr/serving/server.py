"""The process: sockets and signals. One process, since all share one queue."""

import asyncio
import ctypes
import math
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from adadsr.errors import InputError, cause_of
from adadsr.serving.connections import PatientProtocol
from adadsr.serving.queue import Queue
from adadsr.serving.settings import Settings

HEADER_BYTES = 32 * 2**10
"""Limit on the request line and headers together."""
DRAIN_CHECK_SECONDS = 0.1
CONNECTIONS = 1000
BACKLOG = 512
M_ARENA_MAX = -8
"""Of mallopt(3)."""


class Server(uvicorn.Server):
    """Ends on SIGINT and SIGTERM: what runs may finish, what waits is refused."""

    def __init__(self, config: uvicorn.Config, queue: Queue, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._queue, self._ready = queue, ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second SIGINT ends at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load, listen, and say where."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what waits and what comes, finish what runs; then stop listening."""
        self._queue.close()
        end = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while self._queue.running and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(DRAIN_CHECK_SECONDS)
        self.config.timeout_graceful_shutdown = max(1, math.ceil(end - time.monotonic()))
        await super().shutdown(sockets)


def share_one_heap() -> None:
    """Let all threads of this process allocate from one heap. To be called before there are any.

    glibc gives each thread a heap, and each grows until its thread has met the largest requests. Pixels and features
    are large enough to have pages of their own, so threads hardly wait for each other.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has no such heaps
        mallopt(M_ARENA_MAX, 1)


def serve(app: FastAPI, settings: Settings, ready: Callable[[int], None] = lambda port: None) -> None:
    """Run until a signal ends it. ready: called with the port. Raises InputError if the port is taken."""
    with listening(settings.host, settings.port) as listener:
        Server(config_of(app, settings), app.state.service.queue, ready).run([listener])


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=type("Protocol", (PatientProtocol,), {"read_seconds": settings.upload_limit}),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(settings.time_limit) + 1,
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        cause = f"cannot listen at {host}:{port} ({cause_of(error)})"
        raise InputError(f"{cause}; choose another --host or --port") from error
    return listener
