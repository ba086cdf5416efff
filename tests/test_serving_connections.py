"""Clients that are slow, stop reading or leave, and what they learn of faults."""

import contextlib
import socket
import time

import pytest

import serving_samples
from adadsr.serving import connections
from adadsr.serving.server import listening
from serving_samples import Running, head, photo, raw, running, wait_until

SITE = "https://photos.example"


@pytest.fixture(scope="module")
def service():
    with running(upload_limit=1.0, time_limit=30, target_wait=1e6) as found:
        yield found


def test_slow_writers_are_sent_away(service: Running):
    content = photo()
    start = time.monotonic()
    answer = raw(service, head("/v1/upscale", len(content)), *(content[i : i + 1] for i in range(3)), pause=0.1)
    assert b" 408 " in answer[:20]
    assert time.monotonic() - start < 10


def test_slow_readers_hold_no_engine(service: Running):
    content = photo(200, 200)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(head("/v1/upscale?budget=0.3", len(content)) + content)
        client.recv(1)
        wait_until(lambda: not service.service.queue.running)


def narrow(host: str, port: int) -> socket.socket:
    """Listen with small buffers, so that answers wait in the process rather than in the kernel."""
    listener = listening(host, port)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener


@pytest.fixture(scope="module")
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving_samples, "listening", narrow)
        with running(upload_limit=1.0, origins=(SITE,)) as found:
            yield found


@pytest.mark.parametrize("kind", ["close", "keep-alive"])
@pytest.mark.parametrize("side", [250, 600, 1000], ids=["one piece", "in memory", "on disk"])
def test_a_client_that_does_not_read_is_cut_off(
    impatient: Running, side: int, kind: str, caplog: pytest.LogCaptureFixture
):
    name = impatient.post("/v1/images", photo(side, side)).json()["id"]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        lines = f"GET /v1/images/{name}/picture HTTP/1.1", "Host: localhost", f"Connection: {kind}", "", ""
        client.sendall("\r\n".join(lines).encode())
        wait_until(lambda: bool(impatient.connections))
        wait_until(lambda: not impatient.connections, 10)
    assert caplog.records == []


def test_a_client_that_reads_slowly_but_steadily_gets_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving_samples, "listening", narrow)
    limit = 3.0
    with running(upload_limit=limit) as service, socket.socket() as client:
        name = service.post("/v1/images", photo(1000, 1000)).json()["id"]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.connect(("127.0.0.1", service.port))
        client.sendall(f"GET /v1/images/{name}/picture HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        found, start = b"", time.monotonic()
        while piece := client.recv(2**16):
            found += piece
            time.sleep(0.12)
    assert time.monotonic() - start > limit
    head, _, body = found.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()


@pytest.mark.parametrize("earlier", [0, 1])
def test_slow_headers_are_cut_off(service: Running, earlier: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        for _ in range(earlier):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 20:
                client.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - start < 10


def test_a_client_that_waits_to_be_welcome_is_refused_before_it_uploads():
    with running() as service:
        asked = head("/v1/upscale", 10**6, "Expect: 100-continue")
        assert b" 100 " in raw(service, asked)[:20]
        service.loop.call_soon_threadsafe(service.service.queue.close)
        assert b" 503 " in raw(service, asked)[:20]


def test_the_engine_is_free_soon_after_a_client_has_left(service: Running):
    content = photo(300, 300)
    queue = service.service.queue
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(head("/v1/upscale", len(content)) + content)
        wait_until(lambda: bool(queue.running))
        time.sleep(0.3)  # well inside the body
        assert queue.running
    assert wait_until(lambda: not queue.running) < 3  # 0.3 on an idle machine: benchmarks/serve_load.py


def test_what_waits_leaves_the_queue_with_its_client(service: Running):
    content, queue = photo(300, 300), service.service.queue
    clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(4)]
    for client in clients:
        client.sendall(head("/v1/upscale", len(content)) + content)
    wait_until(lambda: len(queue.waiting) >= 3)
    for client in clients:
        client.close()
    wait_until(lambda: not queue.running and not queue.waiting, 10)


def test_an_error_that_nobody_expected_is_answered_and_counted(
    impatient: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(impatient.service, "upscale", broken)
    answer = impatient.post("/v1/upscale", photo(), Origin=SITE)
    assert (answer.status, answer.detail) == (500, "RuntimeError; the log of the service says more")
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["x-content-type-options"] == "nosniff"
    counted = impatient.get("/metrics").body.decode()
    assert 'adadsr_request_seconds_count{path="/v1/upscale",status="500"} 1.0' in counted
    assert 'adadsr_refusals_total{problem="internal-error"} 1.0' in counted
    assert len(caplog.records) == 1
