"""A target for libvips that changes the beginning of a file while it is written."""

from collections.abc import Callable
from typing import BinaryIO

import pyvips

_MAX_HEAD = 1 << 26


class Splice:
    """Writes what libvips encodes to `file`, after `rewrite` has changed its beginning.

    rewrite: gets the beginning of the encoded file, and returns what to write instead, or None to wait for more.
    libvips loses exceptions of callbacks, so `raise_lost` raises them afterwards.
    """

    def __init__(self, file: BinaryIO, rewrite: Callable[[bytes], bytes | None]) -> None:
        self._file, self._rewrite = file, rewrite
        self._head: bytearray | None = bytearray()
        self._enough = 0  # bytes from which another attempt is worthwhile: a long head would be parsed again and again
        self._error: BaseException | None = None
        self.target = pyvips.TargetCustom()
        self.target.on_write(self._write)

    def _write(self, data: bytes) -> int:
        size = len(data)
        try:
            if self._head is None:
                self._put(data)
                return size
            self._head += data
            if len(self._head) > _MAX_HEAD:
                raise ValueError("no pixels found in an encoded file")
            if len(self._head) >= self._enough:
                self._attempt()
                self._enough = 2 * len(self._head or b"")
        except BaseException as error:
            self._error = error
            return -1
        return size

    def _attempt(self) -> None:
        changed = self._rewrite(bytes(self._head or b""))
        if changed is not None:
            self._head = None
            self._put(changed)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def raise_lost(self) -> None:
        """Raise what went wrong in a callback."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Write what is still held back. Raises what went wrong in a callback."""
        self.raise_lost()
        if self._head:
            self._attempt()
        if self._head is not None:
            raise ValueError("no pixels found in an encoded file")
