"""A folder of this machine, or of a disk that all machines share."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from adadsr import atomic
from adadsr.errors import StorageError, cause_of
from adadsr.storage.place import File


class LocalPlace:
    """See `Place`. A name that leads out of the folder is a StorageError, too."""

    def __init__(self, address: str) -> None:
        self.address = os.path.normpath(address)

    def files(self, below: str = "") -> Iterator[File]:
        root = self._path(below)
        for parent, _, names in os.walk(root, onerror=_refuse):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    yield self._file(path.relative_to(self.address).as_posix(), path.stat())

    def find(self, name: str) -> File | None:
        try:
            return self._file(name, self._path(name).stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, "read", error) from error

    def read(self, name: str, size: int = 0) -> bytes | None:
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, "read", error) from error
        if size and len(content) != size:
            raise StorageError(f"{self.join(name)}: has {len(content)} bytes instead of {size}; it changed, run again")
        return content

    def create(self, name: str, content: bytes) -> bool:
        try:
            return atomic.create(self._made(name), content)
        except OSError as error:
            raise self._error(name, "write", error) from error

    def replace(self, name: str, content: bytes) -> None:
        try:
            with atomic.replacing(self._made(name)) as hidden:
                hidden.write_bytes(content)
        except OSError as error:
            raise self._error(name, "write", error) from error

    def remove(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._error(name, "remove", error) from error

    def tidy(self) -> None:
        for parent, _, names in os.walk(self.address):
            if any(name.startswith(atomic.HIDDEN) for name in names):
                atomic.remove_abandoned(parent)

    def join(self, name: str) -> str:
        return str(self._path(name))

    def _path(self, name: str) -> Path:
        if os.path.isabs(name) or ".." in name.split("/"):
            raise StorageError(f"{self.address}: {name} is not a name below this folder; rename the file or object")
        return Path(self.address, name)

    def _made(self, name: str) -> Path:
        """The path of a file whose folder exists."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _file(self, name: str, stat: os.stat_result) -> File:
        return File(name, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    def _error(self, name: str, verb: str, error: OSError) -> StorageError:
        return StorageError(f"{self.join(name)}: cannot {verb} ({cause_of(error)}); check folder and permissions")


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise StorageError(f"{error.filename}: cannot list ({cause_of(error)}); check its permissions") from error
