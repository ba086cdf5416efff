"""`adadsr upscale --server`: files go to a service and come back. Needs nothing but the standard library."""

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

from adadsr import atomic, depthview
from adadsr.batch import Job, Outcome, Result, Run, Status, attempt, result_of
from adadsr.errors import AdaDSRError, ImageFileError, InputError, cause_of
from adadsr.formats import HEAD_BYTES, find_format, recognise
from adadsr.upscaler import Report

__all__ = ["KEY_VARIABLE", "RemoteError", "Server", "run"]

KEY_VARIABLE = "ADADSR_API_KEY"
"""Environment variable with the key that the service asks for."""
AT_ONCE = 4
"""Files that are on their way at the same time: the service keeps its own order."""
MOST_TRIES = 20
LONGEST_PAUSE = 60.0
TIMEOUT = 600.0
BUSY = 503
PASSING = ("overloaded", "out-of-memory", "shutting-down")
"""Problem types for which a retry may succeed."""
READ_BYTES = 2**20


class RemoteError(AdaDSRError):
    """The service refused, or cannot be reached."""


class Answer(NamedTuple):
    """What came back."""

    content: bytes
    headers: Mapping[str, str]


class Delivery(NamedTuple):
    """What came back for one job, checked. depth_view: content of the picture of its depth map, if the job has one."""

    content: bytes
    depth_view: bytes | None
    report: Report
    warnings: tuple[str, ...]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they would take the key to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        place = urlsplit(newurl)._replace(query="", fragment="").geturl()  # a query may hold secrets
        raise RemoteError(f"{req.host} redirects to {place}; pass the address of the service itself")


@dataclass(frozen=True)
class Server:
    """A service.

    Attributes:
        url: Its address, such as `http://big-machine:8080`.
        key: API key; None for none.
    """

    url: str
    key: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InputError(f"server={self.url!r} is not an address such as http://big-machine:8080")

    def post(self, path: str, query: Mapping[str, str], content: bytes, stop: threading.Event) -> Answer:
        """Send a file, again as long as the service is busy. stop: ends the tries.

        Raises RemoteError with the service's sentence.
        """
        # A file name may hold bytes that are not UTF-8; the service only repeats it in messages.
        address = f"{self.url.rstrip('/')}{path}?{urlencode(query, quote_via=quote, errors='replace')}"
        headers = {"Content-Type": "application/octet-stream"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        opener = urllib.request.build_opener(_NoRedirects)
        for tries in range(1, MOST_TRIES + 1):
            request = urllib.request.Request(address, content, headers, method="POST")
            try:
                with opener.open(request, timeout=TIMEOUT) as answer:
                    return Answer(answer.read(), answer.headers)
            except urllib.error.HTTPError as error:
                with error:
                    problem = _problem(error)
                    if not _passes(error, problem) or tries == MOST_TRIES or stop.wait(_retry_after(error)):
                        raise RemoteError(_sentence(error, problem)) from error
            except http.client.HTTPException as error:
                raise RemoteError(f"{self.url}: the answer broke off ({error}); try again") from error
            except (OSError, ValueError) as error:  # an HTTPError is an OSError, too
                cause = getattr(error, "reason", None) or error
                raise RemoteError(
                    f"{self.url}: cannot be reached ({cause}); is `adadsr serve` running there?"
                ) from error
        raise AssertionError("the last try returns or raises")


def run(
    server: Server,
    jobs: Sequence[Job],
    query: Mapping[str, str],
    *,
    overwrite: bool = False,
    finished: Callable[[Result], None] = lambda result: None,
) -> Run:
    """Send the files of jobs, and write what comes back; one result for each, in order.

    query: parameters of `POST /v1/upscale`. A KeyboardInterrupt ends the run, and so does what `finished` raises: no
    further file is written. A bad file does not stop the others.
    """
    start = time.perf_counter()
    sender = _Sender(server, jobs, query, overwrite)
    try:
        sender.start()
        for result in sender.results:
            finished(result.result())
    except KeyboardInterrupt:
        sender.end()
    except BaseException:
        sender.end()
        raise
    results = [
        result.result() if result.done() else _not_run(job) for job, result in zip(jobs, sender.results, strict=True)
    ]
    return Run(results, sender.stop.is_set(), time.perf_counter() - start)


class _Sender:
    """Threads that send the files of jobs. results: of each job. stop: ends them."""

    def __init__(self, server: Server, jobs: Sequence[Job], query: Mapping[str, str], overwrite: bool) -> None:
        self._server, self._query, self._overwrite, self.stop = server, query, overwrite, threading.Event()
        self.results: list[Future[Result]] = [Future() for _ in jobs]
        self._waiting = deque(zip(jobs, self.results, strict=True))
        self._writing = threading.Lock()

    def start(self) -> None:
        for _ in range(min(AT_ONCE, len(self.results))):  # one that waits for an answer must not hold up the end
            threading.Thread(target=self._work, daemon=True).start()

    def end(self) -> None:
        """Stop; no file is written from now on."""
        with self._writing:
            self.stop.set()

    def _work(self) -> None:
        while self._waiting:
            try:
                job, result = self._waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            came = None if self.stop.is_set() else attempt(job, partial(self._deliver, job))
            with self._writing:
                result.set_result(_not_run(job) if came is None or self.stop.is_set() else self._stored(job, came))

    def _deliver(self, job: Job) -> Delivery:
        return _deliver(self._server, job, self._query, self.stop)

    def _stored(self, job: Job, came: Outcome[Delivery]) -> Result:
        """Write what came; the result of the job."""
        if came.value is None:
            return result_of(job, Status.FAILED, came.reason, seconds=came.seconds)
        wrote = attempt(job, partial(_store, job, came.value, self._overwrite))
        seconds = came.seconds + wrote.seconds
        if wrote.reason is not None:
            return result_of(job, Status.FAILED, wrote.reason, seconds=seconds)
        result = result_of(job, Status.DONE, report=came.value.report, seconds=seconds)
        return replace(result, warnings=came.value.warnings)


def _not_run(job: Job) -> Result:
    return result_of(job, Status.NOT_RUN, "interrupted")


def _deliver(server: Server, job: Job, query: Mapping[str, str], stop: threading.Event) -> Delivery:
    """Send the file of a job. Raises AdaDSRError, also if what comes back is not what a service sends."""
    content = _content(job)
    asked = {**query, "format": job.target.suffix[1:].lower(), "name": job.source.name}
    answer = server.post("/v1/upscale", asked, content, stop)
    report = _report(answer.headers)
    _check_format(answer.content, job.target.suffix)
    view = None
    if job.depth_view is not None:
        mapped = {name: value for name, value in query.items() if name not in ("quality", "background")}
        view = server.post("/v1/depth-map", mapped, content, stop).content
        _check_format(view, job.depth_view.suffix)
    return Delivery(
        answer.content, view, report, tuple(filter(None, [unquote(answer.headers.get("AdaDSR-Warnings", ""))]))
    )


def _store(job: Job, delivery: Delivery, overwrite: bool) -> None:
    """Write the outputs of a job, the image last: if it exists, everything else does."""
    if job.depth_view is not None and delivery.depth_view is not None:
        _write(job.depth_view, delivery.depth_view, overwrite or depthview.is_drawn(job.depth_view))
    _write(job.target, delivery.content, overwrite)


def _content(job: Job) -> bytes:
    if job.content is not None:
        return job.content
    try:
        return job.source.read_bytes()
    except OSError as error:
        raise ImageFileError(
            f"{job.source}: cannot open ({cause_of(error)}); check the path and its permissions"
        ) from error


def _check_format(content: bytes, suffix: str) -> None:
    wanted = find_format(suffix)
    if recognise(content[:HEAD_BYTES]) is not wanted:
        raise RemoteError(f"the answer is not {wanted.name}; is it an adadsr service?")


def _write(path: Path, content: bytes, overwrite: bool) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
        with atomic.replacing(path, overwrite=overwrite) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise ImageFileError(f"{path}: already exists; pass --overwrite to replace it") from None
        raise ImageFileError(
            f"{path}: cannot write ({cause_of(error)}); check the folder and the free space"
        ) from error


def _report(headers: Mapping[str, str]) -> Report:
    """The report of the run. Raises RemoteError if the service is of another kind or version."""
    try:
        given: dict[str, Any] = json.loads(headers.get("AdaDSR-Report", ""))
        known = {each.name for each in fields(Report)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if name in known
        }
        return Report(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise RemoteError(f"the answer has no report ({error}); is it the same version of adadsr?") from error


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """The problem document of an answer; empty if it has none."""
    try:
        document = json.loads(error.read(READ_BYTES))
    except (ValueError, OSError, http.client.HTTPException):
        return {}
    return document if isinstance(document, dict) else {}


def _passes(error: urllib.error.HTTPError, problem: Mapping[str, Any]) -> bool:
    """Whether the same request may succeed later. A proxy that says the service is busy has no document."""
    kind = str(problem.get("type", "")).rpartition(":")[2]
    return error.code == BUSY and kind in ("", *PASSING)


def _sentence(error: urllib.error.HTTPError, problem: Mapping[str, Any]) -> str:
    """What a problem document says."""
    detail = problem.get("detail")
    return str(detail or f"the server answered {error.code} {error.reason}; is it an adadsr service?")


def _retry_after(error: urllib.error.HTTPError) -> float:
    try:
        seconds = float(error.headers.get("Retry-After", "1"))
    except ValueError:
        seconds = 1.0
    return min(max(seconds, 0.1), LONGEST_PAUSE)
