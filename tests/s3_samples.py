"""An S3 server that fails now and then, for tests: moto's, behind faults."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Faults:
    """A WSGI application in front of another one.

    every: one of so many requests for an object fails: by status 500, by 503, or by an answer that is cut short; 0 lets
    all pass. counts: of requests by method, and of faults.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application, self.every, self.counts = application, 0, Counter[str]()
        self._lock = threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environment["REQUEST_METHOD"], environment["PATH_INFO"]
        with self._lock:
            self.counts[method] += 1
            is_object = path.count("/") > 1
            number = self.counts["objects"] = self.counts["objects"] + is_object
            fault = is_object and self.every and number % self.every == 0
            kind = self.counts["faults"] % 3
            self.counts["faults"] += bool(fault)
        if not fault:
            return self._application(environment, start)
        if kind == 2 and method == "GET":
            body = b"".join(self._application(environment, start))
            return [body[: len(body) // 2]]  # fewer than the headers promise
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        status, body = ("503 Slow Down", SLOW_DOWN) if kind else ("500 Internal Server Error", INTERNAL)
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@contextmanager
def serving() -> Iterator[tuple[str, Faults]]:
    """A server in a thread: its address, and its faults."""
    import s3fs
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults
    finally:
        s3fs.S3FileSystem.clear_instance_cache()  # it would speak to this server for ever
        server.shutdown()
        thread.join()
