"""A service on a free loopback port, and clients of it."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")

from adadsr import images
from adadsr.serving import Settings, create_app
from adadsr.serving.server import Server, config_of, listening
from adadsr.serving.service import Service

MODEL = "adaedsr-baseline-x2"


class Answer(NamedTuple):
    """An answer. headers: lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """Of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.body[:200]
        document = self.json()
        assert document["status"] == self.status
        assert document["type"].startswith("urn:adadsr:problem:")
        return str(document["detail"])


class Running(NamedTuple):
    """A service that runs in a thread of this process. connections: those that are open. server: None elsewhere."""

    port: int
    service: Service
    loop: asyncio.AbstractEventLoop
    connections: Collection[object] = ()
    server: Server | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: bytes | None = None, timeout: float = 60, **headers: str) -> Answer:
        """One request. headers: with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes | None = None, timeout: float = 60, **headers: str) -> Answer:
        return self.call("POST", path, body, timeout, **headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def metric(self, name: str) -> float:
        """A metric, summed over its labels."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


@contextmanager
def running(**settings: Any) -> Iterator[Running]:
    """A service in a thread, ended with the block."""
    given = Settings(**{"port": 0, "threads": 1, "memory": 2**30, **settings})
    app = create_app(given)
    ready, ports = threading.Event(), []

    def at(port: int) -> None:
        ports.append(port)
        ready.set()

    server = Server(config_of(app, given), app.state.service.queue, at)
    loops = []

    def run() -> None:
        loop = asyncio.new_event_loop()
        loops.append(loop)
        with listening("127.0.0.1", 0) as listener:
            loop.run_until_complete(server.serve([listener]))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield Running(ports[0], app.state.service, loops[0], server.server_state.connections, server)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def photo(height: int = 24, width: int = 32, seed: int = 0, format: str = "png", channels: int = 3) -> bytes:
    """A file with edges and noise, so that depths differ."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
    pixels[: height // 2] = 128
    return images.encode(images.picture_from_array(pixels), format)


def form(content: bytes, name: str = "photo.png", field: str = "image") -> tuple[bytes, str]:
    """A multipart body, and its content type."""
    boundary = "0123456789abcdef"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def wait_until(true, seconds: float = 30.0) -> float:
    """Seconds until something is true."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)
    return time.monotonic() - start


def raw(service: Running, *parts: bytes, pause: float = 0.0, seconds: float = 20.0) -> bytes:
    """What the service sends back for bytes that are sent part by part, until it closes or nothing more comes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
            return client.recv(65536)
        except OSError:
            return b""


def head(path: str, length: int, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()
