"""`adadsr upscale --server`: as without it, but run by a service."""

import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from adadsr import images
from adadsr.batch import Job
from adadsr.errors import InputError
from adadsr.remote import Server, run
from cli_samples import call
from serving_samples import Running, photo, running

KEY = "a-key-of-some-length"


@pytest.fixture(scope="module")
def service():
    with running(keys=(KEY,)) as found:
        yield found


@pytest.fixture
def upscale(service: Running, monkeypatch: pytest.MonkeyPatch, here: Path):
    monkeypatch.setenv("ADADSR_API_KEY", KEY)
    return lambda *arguments: call("upscale", "--server", service.address, *arguments)


def pixels(path: str) -> np.ndarray:
    return images.read_image(path).pixels


def test_files_come_back_as_if_they_had_run_here(upscale, here: Path):
    Path("in").mkdir()
    for index, format in enumerate(("png", "jpg", "tif")):
        Path(f"in/{index}.{format}").write_bytes(photo(seed=index, format=format))
    options = ("--budget", "0.5", "--depth-map", "--report", "report.json")
    there = upscale("in", "-o", "there", *options)
    assert (there.exit_code, "3 of 3 images upscaled" in there.output) == (0, True), there.output
    assert call("upscale", "in", "-o", "local", "--device", "cpu", *options[:3]).exit_code == 0
    for name in ("0.png", "1.jpg", "2.tif", "0.depth.png"):
        np.testing.assert_array_equal(pixels(f"there/{name}"), pixels(f"local/{name}"))
    first = json.loads(Path("report.json").read_text())["images"][0]
    assert (first["status"], first["model"], first["requested_budget"]) == ("done", "adaedsr-baseline-x2", 0.5)


def test_a_bad_file_does_not_stop_the_others_and_is_named(upscale, here: Path):
    Path("good.png").write_bytes(photo())
    Path("bad.png").write_bytes(b"not an image")
    done = upscale("good.png", "bad.png", "-o", "out", "--width", "50")
    assert done.exit_code == 1
    assert "adadsr: bad.png: the content is not PNG" in done.output
    assert images.read_size("out/good.png") == (38, 50)
    assert not Path("out/bad.png").exists()


def test_what_exists_is_skipped(upscale, here: Path):
    Path("a.png").write_bytes(photo())
    assert upscale("a.png", "-o", "out.png").exit_code == 0
    assert "skipped" in upscale("a.png", "-o", "out.png").output


def test_wrong_usage(upscale, here: Path):
    Path("a.png").write_bytes(photo())
    for options in (
        *(("--threads", "2"), ("--dry-run",), ("--backend", "native"), ("--device", "cpu")),
        *(("--page", "2"), ("--linear-light", "--scale", "2.5"), ("--memory", "1G")),
    ):
        done = upscale("a.png", "-o", "out", *options)
        assert (done.exit_code, options[0] in done.output) == (2, True)
    for address in ("big-machine", "ftp://big-machine", ""):
        with pytest.raises(InputError, match="is not an address"):
            Server(address)


def test_a_wrong_key_and_a_wrong_address_are_said(
    upscale, service: Running, here: Path, monkeypatch: pytest.MonkeyPatch
):
    Path("a.png").write_bytes(photo())
    monkeypatch.setenv("ADADSR_API_KEY", "another-key-of-that-length")
    assert "Authorization: Bearer KEY" in upscale("a.png", "-o", "out").output
    done = call("upscale", "--server", "http://127.0.0.1:9", "a.png", "-o", "out")
    assert (done.exit_code, "cannot be reached" in done.output) == (1, True)


class Busy(http.server.BaseHTTPRequestHandler):
    """Busy twice, then broken."""

    calls = 0

    def do_POST(self) -> None:
        type(self).calls += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if self.calls < 3 else 418)
        self.send_header("Retry-After", "7")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def busy_server():
    server = http.server.HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_busy_service_is_asked_again_after_the_time_it_names(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(photo())
    pauses: list[float] = []
    with busy_server() as address:
        (result,) = run(Server(address, pause=pauses.append), [Job(tmp_path / "a.png", tmp_path / "b.png")], {})
    assert pauses == [7, 7]
    assert "the server answered 418" in result.reason
