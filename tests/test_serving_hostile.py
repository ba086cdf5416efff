"""Clients that mean harm or have bad luck: the service refuses in words, and goes on."""

import concurrent.futures
import errno
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import numpy as np
import pytest

from adadsr import images
from adadsr.serving.queue import Ticket
from serving_samples import Running, head, photo, raw, running, wait_until


@pytest.fixture(scope="module")
def service():
    with running(max_upload=200_000, max_pixels=10**6, upload_limit=1.0, time_limit=30, target_wait=1e6) as found:
        yield found


@pytest.fixture(autouse=True)
def still_serves(service: Running):
    """After each attack a request is answered, and nothing is left behind."""
    yield
    assert service.post("/v1/upscale?budget=0.5", photo()).status == 200
    wait_until(lambda: not service.service.queue.running and not service.service.models.memory.used)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int) -> bytes:
    """A small PNG that decodes to side x side pixels of one value."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(side * (3 * side + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def large(format: str) -> bytes:
    """A file of few bytes with 4 megapixels."""
    return images.encode(images.picture_from_array(np.zeros((2000, 2000, 3), np.uint8)), format)


@pytest.mark.parametrize("format", ["png", "webp", "avif", "tif"])
def test_bombs_are_refused_by_their_declared_size(service: Running, format: str):
    content = large(format)
    assert len(content) < 200_000
    answer = service.post("/v1/upscale", content)
    assert (answer.status, "is over the limit of 1 megapixels" in answer.detail) == (413, True)


def test_a_bomb_that_declares_little_is_refused(service: Running):
    bomb = bytearray(png_bomb(1500))
    bomb[16:24] = struct.pack(">II", 10, 10)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    assert service.post("/v1/upscale", bytes(bomb)).status in (200, 422)


def test_bodies_over_the_limit_end_early(service: Running):
    declared = service.post("/v1/upscale", bytes(300_000))
    assert (declared.status, "over the limit" in declared.detail) == (413, True)
    pieces = b"186a0\r\n" + bytes(100_000) + b"\r\n"
    chunked = b"POST /v1/upscale HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 413 " in raw(service, chunked, pieces, pieces, pieces, b"0\r\n\r\n")[:20]


def test_truncated_bodies(service: Running):
    content = photo()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(head("/v1/upscale", len(content)) + content[:100])
    assert service.post("/v1/upscale", content[:-20]).status == 422


def test_large_results_come_in_pieces():
    content = photo(500, 500)
    with running() as service:
        answer = service.post("/v1/upscale?budget=0.2", content, timeout=120)
    assert len(answer.body) > 2**20
    assert images.read_size(answer.body) == (1000, 1000)
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"%PDF-1.7\n", b"<svg xmlns='x'/>", b"GIF89a", b"II*\0", b"\xff\xd8\xff", os.urandom(999)],
    ids=["none", "zero", "pdf", "svg", "gif", "tiff", "jpeg", "noise"],
)
def test_wrong_types(service: Running, content: bytes):
    for path in ("upscale", "plan", "depth-map", "images"):
        assert service.post(f"/v1/{path}", content).status == 422


def test_wrong_forms(service: Running):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary="):
        assert service.post("/v1/plan", b"--y\r\nnonsense", Content_Type=kind).status in (400, 422)


def test_header_floods(service: Running):
    flood = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(5000))
    assert raw(service, flood + b"\r\n")[:12] in (b"HTTP/1.1 400", b"")
    long = b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n"
    assert raw(service, long)[:12] in (b"HTTP/1.1 400", b"")
    assert raw(service, b"\0\1\2 nonsense\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"")
    assert service.get("/v1/models?" + "a=1&" * 3000).status in (200, 400, 414, 422)


@pytest.mark.parametrize("value", ["[", "[::1", "a b", "127.0.0.1:x", "\xff", ""])
def test_odd_hosts_and_origins(service: Running, value: str):
    assert service.get("/v1/models", Host=value).status in ((200,) if value.startswith("127") else (400, 403))
    assert service.get("/v1/models", Origin=value).status in (400, 403)


def test_the_time_limit_ends_a_run():
    with running(time_limit=0.5) as service:
        answer = service.post("/v1/upscale", photo(400, 400))
        assert (answer.status, "took longer than 0.5 s" in answer.detail) == (504, True)
        assert "retry-after" not in answer.headers  # the next try would take as long
        wait_until(lambda: not service.service.queue.running)


def test_a_picture_that_fails_does_not_harm_others(service: Running):
    good, bad = photo(48, 48), photo(48, 48)[:-40]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: service.post("/v1/upscale?budget=0.3", each).status, [good, bad] * 8))
    assert found == [200, 422] * 8


def test_a_full_disk(service: Running, monkeypatch: pytest.MonkeyPatch):
    class Full(io.BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda *_: Full())
    answer = service.post("/v1/upscale", photo())
    assert (answer.status, "no space is left" in answer.detail) == (507, True)


def test_a_picture_that_never_fits_is_refused_at_once():
    with running(memory=8 * 2**20) as service:
        answer = service.post("/v1/upscale", photo(600, 600))
        assert (answer.status, " MiB of memory here, the limit is " in answer.detail) == (422, True)
        kept = service.post("/v1/images", photo(600, 600))
        assert (kept.status, "pass more --memory" in kept.detail) == (422, True)


def test_a_service_that_stops_refuses_what_waits_and_comes_while_it_finishes_what_runs():
    with running() as service, concurrent.futures.ThreadPoolExecutor() as pool:
        queue = service.service.queue
        holder = Ticket(queue.memory, queue.cores, lambda share: 0.0)
        queue.running.append(holder)
        try:
            waits = pool.submit(service.post, "/v1/upscale", photo())
            wait_until(lambda: bool(queue.waiting))
            service.server.should_exit = True
            for answer in (waits.result(), service.get("/readyz"), service.post("/v1/upscale", photo())):
                assert answer.status == 503
                assert "shutting down" in answer.detail
        finally:
            queue.running.remove(holder)


SERVE = """
import sys; sys.path.insert(0, "tests")
from adadsr.serving import Settings, create_app, serve
settings = Settings(port=0, threads=1, memory=2**30)
serve(create_app(settings), settings, lambda port: print(port, flush=True))
"""


def test_sigterm_under_load_finishes_what_runs():
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        service = Running(port, None, None)
        assert service.post("/v1/upscale?budget=0.3", photo()).status == 200
        answers: list[int] = []
        content = photo(300, 300)
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    service.post(
                        "/v1/upscale",
                        content,
                    ).status
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert sorted(set(answers)) in ([200], [200, 503], [503])
        assert 200 in answers
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
