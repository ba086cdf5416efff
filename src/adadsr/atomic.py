"""Write files atomically: complete or not at all, even if the process dies or the disk fills up."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

if sys.platform != "win32":
    import fcntl

HIDDEN = ".adadsr-"
"""How names of unfinished files begin."""

__all__ = [
    "check_folder",
    "create",
    "folders_synced_at_end",
    "locked",
    "make_folder",
    "remove_abandoned",
    "replacing",
    "write_text",
]

_unsynced: ContextVar[set[str] | None] = ContextVar("unsynced", default=None)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """A new hidden file in the folder of `path`; when the block ends, it is synced to disk and takes the name.

    A replaced file keeps its permissions, and a link stays a link. If the block raises, nothing is left behind. Raises
    OSError; FileExistsError if another file has the name by then and may not be overwritten.
    """
    final = os.path.realpath(path)
    folder, mode = os.path.dirname(final), _permissions(final)
    # Never more readable than the file it replaces, and writable until it is complete.
    with _hidden_file(folder, 0o666 if mode is None else mode | stat.S_IWUSR) as hidden:
        yield hidden
        with hidden.open("r+b") as file:
            os.fsync(file.fileno())
        if mode is not None and mode != _permissions(hidden):
            hidden.chmod(mode)
        if overwrite:
            os.replace(hidden, final)
        else:
            _take_free_name(hidden, final)
    _has_new_name(folder)


@contextlib.contextmanager
def folders_synced_at_end() -> Iterator[None]:
    """Sync folders once, when the block ends, not after each file written in it: a sync takes milliseconds.

    Applies to this thread only.
    """
    folders: set[str] = set()
    token = _unsynced.set(folders)
    try:
        yield
    finally:
        _unsynced.reset(token)
        for folder in folders:
            _sync_folder(folder)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8. Raises OSError."""
    with replacing(path) as hidden:
        hidden.write_text(text, encoding="utf-8")


def create(path: str | os.PathLike[str], content: bytes) -> bool:
    """Write a file that must not exist; returns False if it does. Of several processes one succeeds. Raises OSError."""
    try:
        with replacing(path, overwrite=False) as hidden:
            hidden.write_bytes(content)
    except FileExistsError:
        return False
    return True


def _take_free_name(hidden: Path, final: str) -> None:
    """Give a hidden file a name that nothing has. Raises FileExistsError.

    Where there are no hard links, a process that is killed at this moment leaves an empty file.
    """
    try:
        os.link(hidden, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: reserve the name, then replace what reserves it
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            os.replace(hidden, final)
        except BaseException:
            os.unlink(final)
            raise


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Create a folder if it is missing, and prove that files can be written to it. Raises OSError."""
    os.makedirs(folder, exist_ok=True)
    check_folder(folder)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Prove that files can be written to a folder, by writing one. Raises OSError.

    Also removes hidden files that killed processes left there.
    """
    with _hidden_file(folder, 0o666):
        pass
    remove_abandoned(folder)


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[bool]:
    """Hold a folder for the block; False if another holder has it. The system releases it when the process dies.

    Holds nothing, and is True, on Windows and on file systems without locks.
    """
    if sys.platform == "win32":
        yield True
        return
    descriptor, is_free = os.open(folder, os.O_RDONLY), True
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_free = False
        yield is_free
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _hidden_file(folder: str | os.PathLike[str], mode: int) -> Iterator[Path]:
    """A new hidden file, removed at the end if it still has its name. mode: permissions, less the process's umask.

    It is locked meanwhile, which the system undoes when a process dies.
    """
    path, descriptor = _new_file(folder, mode)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _new_file(folder: str | os.PathLike[str], mode: int) -> tuple[Path, int | None]:
    """A hidden file, and the descriptor that locks it; None where files cannot be locked while others write them."""
    while True:
        path = Path(folder, f"{HIDDEN}{os.urandom(8).hex()}.tmp")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if sys.platform == "win32":  # where an open file cannot be renamed
            os.close(descriptor)
            return path, None
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return path, descriptor
        os.close(descriptor)  # another process took it for abandoned before it was locked


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove hidden files in a folder whose processes are dead: those that nobody locks."""
    if sys.platform == "win32":
        return
    for path in Path(folder).glob(f"{HIDDEN}*.tmp"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _permissions(path: str | os.PathLike[str]) -> int | None:
    """Permission bits of a file; None if it does not exist."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return None


def _has_new_name(folder: str) -> None:
    """Sync a folder, now or at the end of `folders_synced_at_end`."""
    unsynced = _unsynced.get()
    if unsynced is None:
        _sync_folder(folder)
    else:
        unsynced.add(folder)


def _sync_folder(folder: str) -> None:
    """Make a new name survive a power loss, if the system can sync a folder and lets this process read it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
