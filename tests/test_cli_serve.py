"""`adadsr serve` as a user starts it."""

import importlib.util
import re
import signal
import socket
import urllib.request

import pytest

from cli_samples import call, start

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")


def test_it_says_where_it_serves_and_ends_on_a_signal():
    process = start("serve", "--port", "0", "--threads", "1")
    try:
        line = process.stderr.readline()
        address = re.fullmatch(r"adadsr: serving at (http://127\.0\.0\.1:\d+)\n", line)
        assert address, line + process.stderr.read()
        with urllib.request.urlopen(f"{address[1]}/readyz", timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        process.stdout.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--least-budget", "2"), "least_budget=2 is outside (0, 1]"),
        (("--time-limit", "inf"), "time_limit=inf must be above 0 and finite"),
        (("--memory", "1"), "memory=1 is too little to serve"),
        (("--port", "99999"), "port=99999 is outside 0..65535"),
        (("--keys", "missing"), "missing: cannot read API keys"),
        (("--origin", "photos.example"), "is not like https://photos.example"),
    ],
)
def test_wrong_usage(here, options: tuple[str, ...], message: str):
    done = call("serve", *options)
    assert done.exit_code == 2
    assert message.split()[0] in done.output


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = call("serve", "--port", taken.getsockname()[1], "--threads", "1")
    assert (done.exit_code, "choose another --host or --port" in done.output) == (1, True)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    done = call("serve")
    assert (done.exit_code, "serve needs uvicorn; pip install 'adadsr[serve]'" in done.output) == (1, True)
