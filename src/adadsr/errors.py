"""Exceptions of adadsr. A message says what was given, what is allowed and what to do."""

import errno
import os
import re
from collections.abc import Collection

_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")


class AdaDSRError(Exception):
    """Base of all errors raised on purpose; the command prints only the message."""


class InputError(AdaDSRError, ValueError):
    """An argument, option or tensor is not allowed."""


class BudgetError(InputError):
    """A budget below what an image costs without any block. least: the smallest budget for it."""

    def __init__(self, message: str, least: float) -> None:
        super().__init__(message)
        self.least = least


class ImageFileError(AdaDSRError):
    """An image file cannot be read or written.

    option: of the command line that the message advises to pass; empty for none. otherwise: the message without it.
    """

    def __init__(self, message: str, option: str = "", otherwise: str = "") -> None:
        super().__init__(message)
        self.option, self.otherwise = option, otherwise

    def for_options(self, options: Collection[str] = ()) -> "ImageFileError":
        """The error as a command says it that has these options only."""
        return self if not self.option or self.option in options else ImageFileError(self.otherwise)


class StorageError(AdaDSRError):
    """A folder or bucket cannot be read or written, or another run uses it."""


class CheckpointError(AdaDSRError):
    """A checkpoint is corrupt, has an unknown naming, or does not fit the network."""


class BackendError(AdaDSRError):
    """A backend is unknown, not available here, or cannot run the network."""


class ExportError(AdaDSRError):
    """A network cannot be exported, an exported file differs from the network, or it cannot be written."""


class DatasetError(AdaDSRError):
    """A folder of images lacks what training or evaluation needs."""


class TrainingError(AdaDSRError):
    """Training cannot continue: the loss diverged, or the output folder is not writable."""


class MissingDependencyError(AdaDSRError, ImportError):
    """An optional library is not installed; the message names the extra to install."""


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full. numpy's short writes have no number, but this cause."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or _SHORT_WRITE.fullmatch(str(error)) is not None


def cause_of(error: OSError) -> str:
    """Why the system refused, such as `No space left on device`."""
    if error.strerror is None and is_full(error):
        return f"{os.strerror(errno.ENOSPC)}: {error}"
    return error.strerror or str(error) or type(error).__name__
