"""`adadsr upscale --server`: files go to a service and come back. Needs nothing but the standard library."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

from adadsr import atomic
from adadsr.batch import Job, Result, Status
from adadsr.errors import AdaDSRError, ImageFileError, InputError
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
READ_BYTES = 2**20


class RemoteError(AdaDSRError):
    """The service refused, or cannot be reached."""


class Answer(NamedTuple):
    """What came back."""

    content: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Server:
    """A service.

    Attributes:
        url: Its address, such as `http://big-machine:8080`.
        key: API key; None for none.
        pause: Waits between tries, in seconds.
    """

    url: str
    key: str | None = None
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InputError(f"server={self.url!r} is not an address such as http://big-machine:8080")

    def post(self, path: str, query: Mapping[str, str], content: bytes) -> Answer:
        """Send a file, again as long as the service is busy. Raises RemoteError with the service's sentence."""
        address = f"{self.url.rstrip('/')}{path}?{urlencode(query, quote_via=quote)}"
        headers = {"Content-Type": "application/octet-stream"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        for tries in range(1, MOST_TRIES + 1):
            request = urllib.request.Request(address, content, headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                    return Answer(answer.read(), answer.headers)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != BUSY or tries == MOST_TRIES:
                        raise RemoteError(_sentence(error)) from error
                    self.pause(_retry_after(error))
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
) -> list[Result]:
    """Send the files of jobs, and write what comes back; one result for each, in order.

    query: parameters of `POST /v1/upscale`. A bad file does not stop the others.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            results = []
            for result in pool.map(lambda job: _run_one(server, job, query, overwrite), jobs):
                finished(result)
                results.append(result)
            return results
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_one(server: Server, job: Job, query: Mapping[str, str], overwrite: bool) -> Result:
    start = time.perf_counter()
    try:
        content = _content(job)
        asked = {**query, "format": job.target.suffix[1:].lower(), "name": job.source.name}
        answer = server.post("/v1/upscale", asked, content)
        if job.depth_view is not None:
            names = ("quality", "background", "least_budget")
            mapped = {name: value for name, value in query.items() if name not in names}
            _write(job.depth_view, server.post("/v1/depth-map", mapped, content).content)
        if not overwrite and job.target.exists():
            raise ImageFileError(f"{job.target}: already exists; pass --overwrite to replace it")
        _write(job.target, answer.content)
    except AdaDSRError as error:
        reason = str(error)
        reason = reason if reason.startswith(str(job.source)) else f"{job.source}: {reason}"
        seconds = time.perf_counter() - start
        return Result(job.source, job.target, job.depth_view, Status.FAILED, reason, seconds=seconds)
    warnings = tuple(filter(None, [unquote(answer.headers.get("AdaDSR-Warnings", ""))]))
    return Result(
        job.source,
        job.target,
        job.depth_view,
        Status.DONE,
        report=_report(answer.headers),
        seconds=time.perf_counter() - start,
        warnings=warnings,
    )


def _content(job: Job) -> bytes:
    if job.content is not None:
        return job.content
    try:
        return job.source.read_bytes()
    except OSError as error:
        raise ImageFileError(
            f"{job.source}: cannot open ({error.strerror}); check the path and its permissions"
        ) from error


def _write(path: os.PathLike[str], content: bytes) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
        with atomic.replacing(path) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot write ({error.strerror}); check the folder and the free space") from error


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


def _sentence(error: urllib.error.HTTPError) -> str:
    """What a problem document says."""
    try:
        return str(json.loads(error.read(READ_BYTES))["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the server answered {error.code} {error.reason}; is it an adadsr service?"


def _retry_after(error: urllib.error.HTTPError) -> float:
    try:
        seconds = float(error.headers.get("Retry-After", "1"))
    except ValueError:
        seconds = 1.0
    return min(max(seconds, 0.1), LONGEST_PAUSE)
