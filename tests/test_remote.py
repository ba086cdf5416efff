"""`adadsr upscale --server`: as without it, but run by a service."""

import http.server
import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from adadsr import depthview, images
from adadsr.batch import Job, Status
from adadsr.errors import InputError
from adadsr.remote import Answer, RemoteError, Server, run
from batch_samples import tiny_chain
from cli_samples import call, start
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
        *(("--page", "2"), ("--linear-light", "--scale", "2.5"), ("--memory", "1G"), ("--border", "zero")),
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


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the answers of its server in turn, and keeps the last one: (status, headers, content)."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.seen.append((self.path, self.headers["Authorization"]))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(*answers):
    """The address of a service that gives these answers, and the list of what it was asked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.seen = list(answers), []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Impatient(threading.Event):
    """Waits for nothing. waits: the times it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


@pytest.fixture(scope="module")
def report() -> str:
    return json.dumps(asdict(tiny_chain()(images.read_image(photo())).report))


def job_of(folder: Path, name: str = "a.png") -> Job:
    (folder / name).write_bytes(photo())
    return Job(folder / name, folder / f"out/{name}")


BUSY = 503, {"Retry-After": "7"}


def problem(kind: str) -> bytes:
    return json.dumps({"type": f"urn:adadsr:problem:{kind}", "detail": f"it is {kind}"}).encode()


@pytest.mark.parametrize("content", [b"", problem("overloaded"), problem("out-of-memory"), problem("shutting-down")])
def test_a_busy_service_is_asked_again_after_the_time_it_names(content: bytes):
    stop = Impatient()
    with (
        answering((*BUSY, content), (*BUSY, content), (418, {}, b"")) as (address, _),
        pytest.raises(RemoteError, match="the server answered 418"),
    ):
        Server(address).post("/v1/upscale", {}, photo(), stop)
    assert stop.waits == [7, 7]


def test_what_does_not_pass_is_not_asked_again(tmp_path: Path):
    with answering((*BUSY, problem("timed-out"))) as (address, seen):
        (result,) = run(Server(address), [job_of(tmp_path)], {}).results
    assert (len(seen), result.reason) == (1, f"{tmp_path}/a.png: it is timed-out")


@pytest.mark.parametrize(
    ("has_report", "content"), [(False, photo()), (True, b"<html>Log in</html>"), (True, photo(format="jpg"))]
)
def test_only_an_image_of_a_service_is_stored_and_others_fail_alone(tmp_path: Path, report, has_report, content):
    wrong = 200, {"AdaDSR-Report": report} if has_report else {}, content
    with answering(wrong, (200, {"AdaDSR-Report": report}, photo())) as (address, _):
        first = run(Server(address), [job_of(tmp_path)], {}).results
        second = run(Server(address), [job_of(tmp_path, "b.png")], {}).results
    assert [each.status for each in first + second] == [Status.FAILED, Status.DONE]
    assert os.listdir(tmp_path / "out") == ["b.png"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_key_does_not_follow_a_redirect(tmp_path: Path, status: int):
    with answering((200, {}, b"")) as (other, stolen):
        for location in (f"{other}/login?token=secret#secret", "/login?token=secret"):
            with answering((status, {"Location": location}, b"")) as (address, seen):
                (result,) = run(Server(address, KEY), [job_of(tmp_path)], {}).results
            place = f"{other if location.startswith(other) else address}/login"
            assert result.reason.endswith(f"redirects to {place}; pass the address of the service itself")
            assert len(seen) == 1
    assert not stolen


def test_an_answer_that_breaks_off_fails_alone(tmp_path: Path, report):
    with answering((200, {"AdaDSR-Report": report, "Content-Length": "9999"}, photo())) as (address, _):
        (result,) = run(Server(address), [job_of(tmp_path)], {}).results
    assert (result.status, "the answer broke off" in result.reason) == (Status.FAILED, True)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only; CI runs this")
def test_a_name_that_is_not_utf8_is_sent(tmp_path: Path, report):
    with answering((200, {"AdaDSR-Report": report}, photo())) as (address, seen):
        (result,) = run(Server(address), [job_of(tmp_path, os.fsdecode(b"\xe4.png"))], {}).results
    assert (result.status, "name=%3F.png" in seen[0][0]) == (Status.DONE, True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_file_is_replaced_unless_asked_for(tmp_path: Path, report, overwrite: bool):
    job = replace(job_of(tmp_path), depth_view=tmp_path / "out/a.depth.png")
    for output in job.outputs:
        output.parent.mkdir(exist_ok=True)
        output.write_text("theirs")
        with answering((200, {"AdaDSR-Report": report}, photo())) as (address, _):
            (result,) = run(Server(address), [job], {}, overwrite=overwrite).results
        assert result.status is (Status.DONE if overwrite else Status.FAILED)
        assert (output.read_bytes() == b"theirs") == (not overwrite)
        output.unlink()


def test_a_depth_map_of_an_interrupted_run_is_replaced(tmp_path: Path, report):
    job = replace(job_of(tmp_path), depth_view=tmp_path / "out/a.depth.png")
    maps = [images.encode(depthview.draw(np.full((1, 8, 8), depth, np.float32), 4), "png") for depth in (1, 2)]
    job.depth_view.parent.mkdir()
    job.depth_view.write_bytes(maps[0])
    with answering((200, {"AdaDSR-Report": report}, photo()), (200, {}, maps[1])) as (address, _):
        (result,) = run(Server(address), [job], {}).results
    assert (result.status, job.depth_view.read_bytes()) == (Status.DONE, maps[1])


def test_an_interruption_keeps_what_is_done_and_writes_nothing_more(tmp_path: Path, report):
    """Even of what is on its way: one answers late, one would be asked again after a minute."""
    jobs = [job_of(tmp_path, name) for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")]
    done, late = threading.Event(), threading.Event()

    class Service(Server):
        def post(self, path, query, content, stop):
            if query["name"] != "a.png":
                assert done.wait(20)
                late.wait(20)
            return Answer(photo(), {"AdaDSR-Report": report})

    def interrupt(result):
        done.set()
        raise KeyboardInterrupt

    outcome = run(Service("http://here"), jobs, {}, finished=interrupt)
    late.set()
    time.sleep(0.2)
    assert outcome.interrupted
    assert [result.status.value for result in outcome.results] == ["done", *["not run"] * 5]
    assert os.listdir(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("error", [BrokenPipeError, SystemExit])
def test_nothing_more_is_sent_where_the_caller_fails(tmp_path: Path, report, error):
    jobs = [job_of(tmp_path, f"{index}.png") for index in range(20)]
    done, sent = threading.Event(), []

    class Service(Server):
        def post(self, path, query, content, stop):
            sent.append(query["name"])
            if query["name"] != "0.png":
                assert done.wait(20)
            return Answer(photo(), {"AdaDSR-Report": report})

    def fail(result):
        raise error

    with pytest.raises(error):
        run(Service("http://here"), jobs, {}, finished=fail)
    done.set()
    time.sleep(0.2)
    assert len(sent) < 10
    assert len(os.listdir(tmp_path / "out")) == 1


@pytest.mark.parametrize("started", range(3))
def test_an_interruption_while_threads_start_ends_the_run(tmp_path: Path, report, monkeypatch, started: int):
    jobs, original, threads = [job_of(tmp_path, f"{index}.png") for index in range(20)], threading.Thread.start, []
    interrupted = threading.Event()

    class Service(Server):
        def post(self, path, query, content, stop):
            assert interrupted.wait(20)
            return Answer(photo(), {"AdaDSR-Report": report})

    def start_thread(thread):
        if len(threads) == started:
            raise KeyboardInterrupt
        threads.append(thread)
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start_thread)
    outcome = run(Service("http://here"), jobs, {})
    interrupted.set()
    for thread in threads:
        thread.join(20)
    assert outcome.interrupted
    assert {result.status for result in outcome.results} == {Status.NOT_RUN}
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_the_command_with_a_report(here: Path):
    for name in "ab":
        Path(f"{name}.png").write_bytes(photo())
    with answering((503, {"Retry-After": "60"}, b"")) as (address, seen):
        process = start("upscale", "a.png", "b.png", "-o", "out", "--server", address, "--report", "run.json")
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "interrupted" in errors) == (130, True)
    report = json.loads(Path("run.json").read_text())
    assert (report["interrupted"], report["counts"]["not run"]) == (True, 2)
