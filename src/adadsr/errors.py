"""Every error that adadsr raises on purpose. A message says what was given, what is allowed and what to do."""


class AdaDSRError(Exception):
    """Base of all errors raised on purpose; the command prints its text and nothing else."""


class InputError(AdaDSRError, ValueError):
    """An argument, option or tensor is outside what is allowed."""


class ImageFileError(AdaDSRError):
    """An image file cannot be read or written."""


class CheckpointError(AdaDSRError):
    """A checkpoint is damaged, of an unknown naming, or does not fit the network."""


class BackendError(AdaDSRError):
    """A backend of the sparse body is unknown or not available here."""


class DatasetError(AdaDSRError):
    """A folder of images does not hold what training or evaluation needs."""


class TrainingError(AdaDSRError):
    """A training cannot go on: its loss has no hold, or its folder cannot be written."""


class MissingDependencyError(AdaDSRError, ImportError):
    """An optional library is not installed; the message names the extra to install."""
