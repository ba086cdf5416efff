"""Ctrl-C during a run of many images."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """A context in which Ctrl-C raises KeyboardInterrupt only at safe points: while a network runs, and at `check`.

    Reading and writing go through libvips, which calls back into Python, and exceptions in callbacks are lost. A second
    Ctrl-C raises immediately. Does nothing outside the main thread or if Ctrl-C already has another handler.
    """

    def __init__(self) -> None:
        self._asked = self._at_once = False
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._asked:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that can be interrupted anywhere."""
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        if self._at_once or again:
            raise KeyboardInterrupt
