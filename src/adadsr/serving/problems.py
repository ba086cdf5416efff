"""Refusals and failures as problem documents (RFC 9457), with the sentences of the command."""

import logging
import math
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from adadsr.errors import AdaDSRError, BackendError, BudgetError, CheckpointError, ImageFileError, InputError, is_full

MEDIA_TYPE = "application/problem+json"
logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of problem. name: the end of its type."""

    name: str
    status: int
    title: str


INVALID = Kind("invalid-request", 422, "The request is not allowed")
BUDGET = Kind("budget-too-small", 422, "The budget is too small for this image")
IMAGE = Kind("unreadable-image", 422, "The image cannot be read or written")
TOO_LARGE = Kind("too-large", 413, "The request is too large")
TOO_SLOW = Kind("too-slow", 408, "The request did not arrive in time")
UNKNOWN_MODEL = Kind("unknown-model", 404, "There is no such model")
UNKNOWN_IMAGE = Kind("unknown-image", 404, "There is no such image")
NOT_ALLOWED = Kind("not-allowed", 403, "This origin or host may not call")
NO_KEY = Kind("unauthorized", 401, "A valid API key is needed")
OVERLOADED = Kind("overloaded", 503, "The service is busy")
NO_MEMORY = Kind("out-of-memory", 503, "Not enough memory is left")
SHUTTING_DOWN = Kind("shutting-down", 503, "The service is shutting down")
TIMED_OUT = Kind("timed-out", 504, "The request took too long")
NO_SPACE = Kind("no-space", 507, "The disk is full")
LEFT = Kind("client-left", 499, "The client left")
FAILED = Kind("internal-error", 500, "The service failed")
KINDS = (
    (BudgetError, BUDGET),
    (ImageFileError, IMAGE),
    (CheckpointError, UNKNOWN_MODEL),
    (BackendError, INVALID),
    (InputError, INVALID),
    (AdaDSRError, INVALID),
)
"""Error -> kind, the first that fits."""


class Problem(Exception):
    """A request ends with this. detail: a sentence. retry_after: in seconds. least: smallest possible budget."""

    def __init__(
        self, kind: Kind, detail: str, *, retry_after: float | None = None, least: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.retry_after, self.least = kind, detail, retry_after, least

    @classmethod
    def of(cls, error: BaseException, *, name: str = "", path: str = "") -> "Problem":
        """The problem that an error is. name, path: of the upload for its sender, and here."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, AdaDSRError):
            kind = next(kind for family, kind in KINDS if isinstance(error, family))
            # Who calls cannot choose options of the command that serves.
            detail = str(error.for_options() if isinstance(error, ImageFileError) else error)
            for here in filter(None, (path, "<bytes>", "<file>")):
                detail = detail.replace(here, name or "image")
            if kind is IMAGE and "is over the limit" in detail:
                kind = TOO_LARGE
            return cls(kind, detail, least=error.least if isinstance(error, BudgetError) else None)
        if isinstance(error, OSError) and is_full(error):
            return cls(NO_SPACE, "no space is left for uploads and results; free some and try again")
        if isinstance(error, MemoryError):
            return cls(NO_MEMORY, "not enough memory at the moment; try again", retry_after=5.0)
        logger.error("a request failed", exc_info=error)
        return cls(FAILED, f"{type(error).__name__}; the log of the service says more")

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.kind is NO_KEY:
            headers["WWW-Authenticate"] = 'Bearer realm="adadsr"'
        return headers

    def body(self) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = {
            "type": f"urn:adadsr:problem:{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.least is not None:
            document["least_budget"] = self.least
        if self.retry_after is not None:
            document["retry_after"] = max(1, math.ceil(self.retry_after))
        return document

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body(), self.kind.status, self.headers(), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of an application end in a problem document; the guard answers unexpected errors."""
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(AdaDSRError, _answer)
    app.add_exception_handler(OSError, _answer)
    app.add_exception_handler(MemoryError, _answer)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = Problem.of(error)
    request.scope.setdefault("adadsr", {})["refusal"] = problem.kind.name
    return problem.response()


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    """An unknown path, a wrong method, or a broken multipart body."""
    assert isinstance(error, HTTPException)
    name = {404: "unknown-path", 405: "wrong-method"}.get(error.status_code, INVALID.name)
    detail = {404: f"{request.url.path}: no such path; /openapi.json lists them"}.get(error.status_code, error.detail)
    problem = Problem(Kind(name, error.status_code, error.detail), str(detail))
    response = problem.response()
    response.headers.update(error.headers or {})
    return response


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in error.errors()]
    return await _answer(request, Problem(INVALID, "; ".join(found)))
