"""A prefix of an object store, through fsspec. What may pass by itself is tried again."""

import random
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeVar

from adadsr.errors import InputError, MissingDependencyError, StorageError
from adadsr.storage.place import File, scheme_of

T = TypeVar("T")
ATTEMPTS = 6
FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is twice as long, less a random part."""
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "memory": "fsspec"}
"""Schemes, and the library that each needs."""
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError, TypeError, ValueError)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError")


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
        library = LIBRARIES[self.scheme]
        try:
            import fsspec

            return fsspec.filesystem(self.scheme, use_listings_cache=False)
        except ImportError as error:
            extra = "cluster" if library in ("fsspec", "s3fs") else ""
            how = f"pip install 'adadsr[{extra}]'" if extra else f"pip install {library}"
            raise MissingDependencyError(f"{self.address}: {self.scheme}:// needs {library}; {how}") from error

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
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except FileNotFoundError as error:
                if verb == "write":
                    raise self._error(name, verb, error) from error
                return None
            except Exception as error:  # each library has errors of its own
                if attempt == ATTEMPTS - 1 or isinstance(error, _FINAL) or type(error).__name__ in _NO_CREDENTIALS:
                    raise self._error(name, verb, error) from error
            time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1))
        raise AssertionError

    def _error(self, name: str, verb: str, error: Exception) -> StorageError:
        cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        advice = "check address and credentials"
        if isinstance(error, FileNotFoundError):
            advice = "check the name of the bucket"
        return StorageError(f"{self.join(name).rstrip('/')}: cannot {verb} ({cause}); {advice}")


def _file(name: str, facts: dict[str, Any]) -> File:
    tag = facts.get("ETag") or facts.get("etag") or facts.get("md5Hash") or facts.get("LastModified") or ""
    return File(name, int(facts.get("size") or 0), str(tag).strip('"'))
