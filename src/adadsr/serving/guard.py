"""What stands before every request: host, origin, key, size and time of the body, and headers of the answer."""

import asyncio
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adadsr.serving import page
from adadsr.serving.metrics import Metrics
from adadsr.serving.problems import NO_KEY, NOT_ALLOWED, TOO_LARGE, TOO_SLOW, Problem
from adadsr.serving.settings import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OPEN = {*page.FILES, "/healthz", "/readyz", "/openapi.json"}
"""Paths that need no key: the page itself has no secrets, and probes have no keys."""
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
EXPOSED = ("Content-Disposition", "Retry-After", "Server-Timing")
"""Headers that pages of allowed origins may read, besides ours."""
PREFLIGHT_SECONDS = 600
"""For which a browser may remember that a page may call."""


class Guard:
    """ASGI middleware. Refuses early, before a body is read."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._keys = [key.encode() for key in settings.keys]
        self._hosts = {*LOOPBACK_HOSTS, settings.host, *(_parts(each)[0] for each in settings.origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _Call(self, scope, receive, send)
        try:
            if await call.is_preflight():
                return
            self.check(scope, Headers(scope=scope))
            await self.app(scope, call.receive, call.send)
        except Exception as error:
            problem = Problem.of(error)
            scope.setdefault("adadsr", {})["refusal"] = problem.kind.name
            if not call.is_answered:
                await problem.response()(scope, receive, call.send)
        finally:
            call.finish()

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise Problem unless host, origin, key and declared length are all right."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.settings.is_loopback and _parts(f"//{host}")[0] not in self._hosts:
            raise Problem(NOT_ALLOWED, f"host {host!r} is not this machine; pass --origin with the site's address")
        is_other = origin is not None and _parts(origin)[1] != host
        if is_other and origin not in self.settings.origins:
            raise Problem(NOT_ALLOWED, f"pages of {origin} may not call; pass --origin {origin} to allow them")
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._keys and path not in OPEN and not self._is_known(headers):
            raise Problem(NO_KEY, "send Authorization: Bearer KEY with one of the service's keys")
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared[:20]) > self.settings.max_upload:
            raise self.too_large()

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
        # All are compared, so that the time tells nothing.
        return sum(hmac.compare_digest(given, known) for known in self._keys) > 0

    def too_large(self) -> Problem:
        """The refusal of a body over the limit."""
        limit = self.settings.max_upload / 2**20
        return Problem(TOO_LARGE, f"the request is over the limit of {limit:.4g} MiB; pass --max-upload to allow it")


def _parts(address: str) -> tuple[str, str]:
    """Host name, and host with port; empty for what is no address."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.netloc
    except ValueError:
        return "", ""


class _Call:
    """One request: counts and times its body, completes the headers of its answer.

    is_answered: whether an answer has begun.
    """

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard, self._scope, self._receive, self._send = guard, scope, receive, send
        self._start = time.perf_counter()
        self._received, self._sent, self._status = 0, 0, 499
        self.is_answered = False
        headers = Headers(scope=scope)
        self._is_complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        origin = headers.get("origin")
        self._origin = origin if origin in guard.settings.origins else None

    async def is_preflight(self) -> bool:
        """Answer the question of a browser before a page of an allowed origin calls."""
        headers = Headers(scope=self._scope)
        if self._scope["method"] != "OPTIONS" or "access-control-request-method" not in headers or not self._origin:
            return False
        allowed = [(b"access-control-allow-methods", b"GET, POST, DELETE")]
        allowed += [(b"access-control-allow-headers", b"authorization, content-type"), (b"content-length", b"0")]
        allowed += [(b"access-control-max-age", str(PREFLIGHT_SECONDS).encode())]
        await self.send({"type": "http.response.start", "status": 204, "headers": allowed})
        await self.send({"type": "http.response.body", "body": b""})
        return True

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        left = self._start + self._guard.settings.upload_limit - time.perf_counter()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, left))
        except asyncio.TimeoutError:
            limit = self._guard.settings.upload_limit
            raise Problem(TOO_SLOW, f"the request did not arrive within {limit:g} s; send it faster") from None
        self._received += len(message.get("body", b""))
        self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        if self._received > self._guard.settings.max_upload:
            raise self._guard.too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._origin is not None:
                headers["Access-Control-Allow-Origin"] = self._origin
                ours = [name for name in headers if name.startswith("adadsr-")]
                headers["Access-Control-Expose-Headers"] = ", ".join((*EXPOSED, *ours))
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            headers.add_vary_header("Origin")
            if not self._is_complete:
                headers["Connection"] = "close"  # the rest of the body is not read
        self._sent += len(message.get("body", b""))
        await self._send(message)
        self.is_answered = True

    def finish(self) -> None:
        """Count the request."""
        metrics, route = self._guard.metrics, self._scope.get("route")
        path = getattr(route, "path", "other")  # any path of a client as a label would fill the memory
        metrics.requests.labels(path, str(self._status)).observe(time.perf_counter() - self._start)
        metrics.received.inc(self._received)
        metrics.sent.inc(self._sent)
        refusal = self._scope.get("adadsr", {}).get("refusal")
        if refusal is not None:
            metrics.refusals.labels(refusal).inc()
