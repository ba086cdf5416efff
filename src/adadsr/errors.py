"""Exceptions of adadsr. A message says what was given, what is allowed and what to do."""


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
    """An image file cannot be read or written."""


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
