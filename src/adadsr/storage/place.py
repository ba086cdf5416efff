"""What a folder and a prefix of a bucket have in common."""

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


class File(NamedTuple):
    """A file below a place. name: with `/`. tag: changes with the content, as an ETag does."""

    name: str
    size: int
    tag: str


class Place(Protocol):
    """A folder or a prefix. Names are relative to it, with `/`. Everything raises StorageError.

    Attributes:
        address: As given, without a slash at its end.
    """

    address: str

    def files(self, below: str = "") -> Iterator[File]:
        """All files below a folder, in no certain order; none if it does not exist."""

    def find(self, name: str) -> File | None:
        """One file; None if it does not exist."""

    def read(self, name: str, size: int = 0) -> bytes | None:
        """The content of a file; None if it does not exist. size: that it must have; 0 if nobody knows."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not exist; returns False if it does. Of several processes one succeeds."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file completely or not at all."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""

    def tidy(self) -> None:
        """Remove what dead processes left unfinished."""

    def join(self, name: str) -> str:
        """The address of a file."""


def is_url(address: str) -> bool:
    """Whether an address has a scheme, such as `s3://`."""
    return _SCHEME.match(address) is not None


def scheme_of(address: str) -> str:
    """The scheme in lower case; empty without one."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else ""
