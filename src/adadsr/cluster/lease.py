"""One run at a time writes to a destination. A dead run's lease ends by itself."""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from adadsr.errors import StorageError
from adadsr.storage import Place

FOLDER = "lease"
RENEWED = 10.0
"""Seconds between two renewals."""
EXPIRES = 60.0
"""Seconds after the last renewal at which a lease ends, if nobody can tell whether its owner lives."""


class Lost(StorageError):
    """Another run took over, because this one did not renew its lease."""


@contextlib.contextmanager
def held(place: Place, clock: Callable[[], float] = time.time) -> Iterator["Lease"]:
    """Hold the lease of a place while the block runs. Raises StorageError if another run holds it.

    Leases are numbered, and the highest number counts. To take one is to create the next number, which succeeds for one
    run only, so neither clocks nor waits decide between two that try at once.
    """
    number, last = _latest(place)
    if last is not None and not _has_ended(last, clock()):
        ago = clock() - last["renewed"]
        raise StorageError(
            f"{place.address}: another run ({last['owner']}) writes here, last seen {ago:.0f} s ago; wait for it or "
            f"stop it; a dead run's lease ends after {EXPIRES:.0f} s"
        )
    lease = Lease(place, number + 1, clock)
    if not lease.take():
        raise StorageError(f"{place.address}: another run has just begun to write here; wait for it or stop it")
    with contextlib.suppress(StorageError):
        for old in range(max(1, number - 1), number + 1):
            place.remove(_name(old))
    try:
        yield lease
    finally:
        lease.release()


class Lease:
    """A lease that is renewed in the background."""

    def __init__(self, place: Place, number: int, clock: Callable[[], float]) -> None:
        self._place, self._number, self._clock, self._nonce = place, number, clock, uuid.uuid4().hex
        self._ended, self._lost = threading.Event(), False
        self._thread = threading.Thread(target=self._renew, name="adadsr-lease", daemon=True)

    def take(self) -> bool:
        """Create it; returns False if another run was first."""
        name = _name(self._number)
        if not self._place.create(name, self._content()):
            existing = _parsed(self._place.read(name))
            if existing is None or existing["nonce"] != self._nonce:  # otherwise the answer of the first try was lost
                return False
        self._thread.start()
        return True

    def check(self) -> None:
        """Raise Lost if another run has taken over."""
        if self._lost:
            raise Lost(
                f"{self._place.address}: another run took over because this one stopped renewing its lease; stopping"
            )

    def release(self) -> None:
        """End the lease, so that the next run need not wait."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with contextlib.suppress(StorageError):
                self._place.replace(_name(self._number), self._content(ended=True))

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            with contextlib.suppress(StorageError):  # the next renewal may succeed
                if _latest(self._place)[0] > self._number:
                    self._lost = True
                    return
                self._place.replace(_name(self._number), self._content())

    def _content(self, *, ended: bool = False) -> bytes:
        content = {
            "owner": f"{platform.node()}, process {os.getpid()}",
            "host": _host(),
            "process": os.getpid(),
            "started": _started(os.getpid()),
            "nonce": self._nonce,
            "renewed": self._clock(),
            "ended": ended,
        }
        return json.dumps(content).encode()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06}.json"


def _latest(place: Place) -> tuple[int, dict[str, Any] | None]:
    """The highest number, and what it holds."""
    names = [Path(file.name).stem for file in place.files(FOLDER)]
    number = max((int(name) for name in names if name.isdecimal()), default=0)
    return number, _parsed(place.read(_name(number))) if number else None


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    try:
        parsed = json.loads(content or b"null")
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) and {"renewed", "owner", "nonce", "ended"} <= parsed.keys() else None


def _has_ended(lease: dict[str, Any], now: float) -> bool:
    if lease["ended"] or now - lease["renewed"] > EXPIRES:
        return True
    return lease.get("host") == _host() and _started(lease["process"]) != lease["started"]


def _host() -> str:
    """This machine since it was started."""
    with contextlib.suppress(OSError):
        return f"{platform.node()} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return platform.node()


def _started(process: int) -> str | None:
    """When a process of this machine was started, as far as the system tells; None if it does not live."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _answers(process)
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def _answers(process: int) -> str | None:
    """Whether a process lives where there is no /proc."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return "unknown"
    return "unknown"
