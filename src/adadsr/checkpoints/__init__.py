"""Checkpoints: our own format, published files in eight namings, bundled models and the Hugging Face hub.

`adadsr.checkpoints.hub` is imported separately because it needs an optional package.
"""

from adadsr.checkpoints.format import Header, describe, load, read_header, save
from adadsr.checkpoints.published import Conversion, convert, from_published, read_published
from adadsr.checkpoints.sources import (
    DEFAULT_FAMILY,
    DEFAULT_SCALE,
    PHOTO_FAMILY,
    BundledModel,
    bundled_family,
    bundled_models,
    described_model,
    load_model,
    model_metadata,
    model_name,
)

__all__ = [
    "DEFAULT_FAMILY",
    "DEFAULT_SCALE",
    "PHOTO_FAMILY",
    "BundledModel",
    "Conversion",
    "Header",
    "bundled_family",
    "bundled_models",
    "convert",
    "describe",
    "described_model",
    "from_published",
    "load",
    "load_model",
    "model_metadata",
    "model_name",
    "read_header",
    "read_published",
    "save",
]
