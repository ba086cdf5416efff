"""Locks after a fork: a child has only the thread that forked, so nobody would release what others had locked."""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Owner(Protocol):
    """Has state that belongs to threads."""

    def after_fork(self) -> None:
        """Forget what other threads were doing. Called in a child."""


_owners: WeakSet[Owner] = WeakSet()


def register(owner: Owner) -> None:
    """Call `owner.after_fork` in every child, as long as the owner exists."""
    _owners.add(owner)


class Lock:
    """A lock for `with` that is open in a child. Nothing may fork inside."""

    def __init__(self) -> None:
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _after_fork() -> None:
    for owner in list(_owners):
        owner.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
