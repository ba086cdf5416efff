"""Connections, and how long a client may let one wait."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 15.0
"""Within which a request's headers must have come, from when the connection opened or the last answer ended."""
CHECK_SECONDS = 1.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that cuts off clients that send headers too slowly, or read too slowly.

    read_seconds: within which a client must have read a piece of an answer, or its end.
    """

    read_seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Restart the clock with the first bytes of a request, not with later ones."""
        if self._is_idle and not self.conn.trailing_data[0]:
            self._since = self.loop.time()
        super().data_received(data)

    def resume_writing(self) -> None:
        """Restart the clock: a piece was read."""
        self._since = self.loop.time()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Restart the clock: the answer ended."""
        self._since = self.loop.time()
        super().on_response_complete()

    @property
    def _is_idle(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete or self.transport.is_closing()

    def _check(self) -> None:
        """Cut the client off if it is late. A transport that only closes waits until everything is read."""
        now = self.loop.time()
        if not self._is_idle and not self.flow.write_paused:
            self._since = now  # the service works
        limit = self.read_seconds if self.transport.get_write_buffer_size() else HEADER_SECONDS
        if now - self._since > limit:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
