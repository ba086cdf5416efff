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
            if (changed := self._rewrite(bytes(self._head))) is not None:
                self._head = None
                self._put(changed)
        except BaseException as error:
            self._error = error
            return -1
        return size

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def raise_lost(self) -> None:
        """Raise what went wrong in a callback."""
        if self._error is not None:
            raise self._error
