"""A prefix of an object store, through fsspec. What may pass by itself is tried again."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from adadsr.errors import AdaDSRError, InputError, MissingDependencyError, StorageError
from adadsr.storage.place import File, scheme_of

T = TypeVar("T")
ATTEMPTS = 6
FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is twice as long, less a random part."""
MOST_SECONDS = 30.0
"""No attempt starts later than this after the first one: some libraries try again by themselves, for minutes."""


class Library(NamedTuple):
    """What a scheme needs. credentials: where its library finds them, for messages."""

    name: str
    credentials: str


_S3 = Library("s3fs", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile")
_GS = Library("gcsfs", "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login")
_AZ = Library("adlfs", "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
LIBRARIES = {"s3": _S3, "gs": _GS, "gcs": _GS, "az": _AZ, "abfs": _AZ, "memory": Library("fsspec", "none")}
"""Schemes, and the library that each needs."""
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError, TypeError, ValueError)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError")
_PASSING = (408, 409, 425, 429)
"""Statuses of 400 to 499 that pass by themselves."""


class ObjectPlace:
    """See `Place`. Writing a whole object is atomic in all of these stores; creating one is a conditional request."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.scheme = scheme_of(address)
        if self.scheme not in LIBRARIES:
            known = ", ".join(f"{scheme}://" for scheme in LIBRARIES if scheme != "memory")
            raise InputError(f"{address}: unknown scheme; use a folder or one of {known}")

    def __getstate__(self) -> dict[str, str]:
        return {"address": self.address, "scheme": self.scheme}  # connections are made anew in each process

    @cached_property
    def _system(self) -> Any:
        library = LIBRARIES[self.scheme].name
        logging.getLogger(library).addHandler(logging.NullHandler())  # its failures come as exceptions
        try:
            import fsspec

            return fsspec.filesystem(self.scheme, use_listings_cache=False)
        except ImportError as error:
            extra = "cluster" if library in ("fsspec", "s3fs") else ""
            how = f"pip install 'adadsr[{extra}]'" if extra else f"pip install {library}"
            raise MissingDependencyError(f"{self.address}: {self.scheme}:// needs {library}; {how}") from error
        except Exception as error:  # adlfs asks for credentials here
            raise self._error("", "open", error) from error

    def files(self, below: str = "") -> Iterator[File]:
        root = self._path("")
        start = len(root) + 1
        found = self._try(below, "list", lambda: self._system.find(self._path(below), detail=True)) or {}
        for path, facts in found.items():
            if facts.get("type") == "file" and len(path) >= start:
                yield _file(path[start:], facts)

    def has_bucket(self) -> bool:
        """Whether the bucket exists."""
        bucket = self._path("").strip("/").partition("/")[0]
        return bool(self._try("", "list", lambda: self._system.exists(bucket)))

    def find(self, name: str) -> File | None:
        facts = self._try(name, "read", lambda: self._system.info(self._path(name)))
        return None if facts is None or facts.get("type") != "file" else _file(name, facts)

    def read(self, name: str, size: int = 0) -> bytes | None:
        def get() -> bytes:
            content = bytes(self._system.cat_file(self._path(name)))
            if size and len(content) != size:
                raise OSError(f"{len(content)} bytes came instead of {size}")
            return content

        return self._try(name, "read", get)

    def create(self, name: str, content: bytes) -> bool:
        def put() -> bool:
            try:
                self._system.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            return True

        return bool(self._try(name, "write", put))

    def replace(self, name: str, content: bytes) -> None:
        self._try(name, "write", lambda: self._system.pipe_file(self._path(name), content))

    def remove(self, name: str) -> None:
        self._try(name, "remove", lambda: self._system.rm_file(self._path(name)))

    def tidy(self) -> None:
        """Nothing is left: an object appears when it is whole."""

    def join(self, name: str) -> str:
        return f"{self.address}/{name}"

    def _path(self, name: str) -> str:
        root = str(self._system._strip_protocol(self.address))
        return f"{root}/{name}" if name else root

    def _try(self, name: str, verb: str, work: Callable[[], T]) -> T | None:
        """The result of some work, tried again if it may pass by itself; None if there is no such object."""
        end = time.monotonic() + MOST_SECONDS
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except AdaDSRError:
                raise
            except Exception as error:  # each library has errors of its own
                if _is_missing(error) and verb != "write":
                    return None
                if attempt == ATTEMPTS - 1 or time.monotonic() > end or _is_final(error):
                    raise self._error(name, verb, error) from error
            time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1))
        raise AssertionError

    def _error(self, name: str, verb: str, error: Exception) -> StorageError:
        lines = str(error).splitlines() or [type(error).__name__]
        cause = ": ".join(lines if isinstance(error, OSError) else lines[:1]).rstrip(".")  # gcsfs has the reason second
        advice = f"check address and credentials ({LIBRARIES[self.scheme].credentials})"
        if _is_missing(error):
            cause, advice = "no such bucket", "check the name of the bucket"
        where = self.join(name) if name else self.address
        return StorageError(f"{where}: cannot {verb} ({cause}); {advice}")


def _is_missing(error: Exception) -> bool:
    """Whether an object, or the bucket that it is in, does not exist."""
    return isinstance(error, FileNotFoundError) or _status(error) == 404


def _is_final(error: Exception) -> bool:
    """Whether the same would come again."""
    status = _status(error)
    if 400 <= status < 500 and status not in _PASSING:
        return True
    return isinstance(error, _FINAL) or type(error).__name__ in _NO_CREDENTIALS


def _status(error: Exception) -> int:
    """The HTTP status of an error of adlfs or gcsfs; 0 if it has none."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else 0


def _file(name: str, facts: dict[str, Any]) -> File:
    tag = facts.get("ETag") or facts.get("etag") or facts.get("md5Hash") or facts.get("LastModified") or ""
    return File(name, int(facts.get("size") or 0), str(tag).strip('"'))
