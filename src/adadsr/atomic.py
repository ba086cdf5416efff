"""Files that appear under their name whole or not at all, also where a run is killed or the disk is full."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new hidden file in the folder of `path`: what is written to it reaches the disk and then takes the name.

    A link stays a link. Where the block raises, nothing is left behind. Raises OSError.
    """
    final = os.path.realpath(path)
    with _hidden_file(os.path.dirname(final)) as hidden:
        yield hidden
        with hidden.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(hidden, final)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8. Raises OSError."""
    with replacing(path) as hidden:
        hidden.write_text(text, encoding="utf-8")


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Create a folder where it is missing, and prove that files can be written to it. Raises OSError."""
    os.makedirs(folder, exist_ok=True)
    check_folder(folder)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Prove that files can be written to a folder. Raises OSError."""
    with _hidden_file(folder):
        pass


@contextlib.contextmanager
def _hidden_file(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new hidden file with the permissions of any new file; removed at the end if it still has its name."""
    path = Path(folder, f".adadsr-{secrets.token_hex(8)}.tmp")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
