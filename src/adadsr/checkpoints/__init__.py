"""Checkpoints: our own format, published files in four namings, bundled models and the Hugging Face hub.

`adadsr.checkpoints.hub` is imported on its own, because it needs an optional package.
"""

from adadsr.checkpoints.format import Header, describe, load, read_config, read_header, save
from adadsr.checkpoints.published import Conversion, convert, convert_published, read_published
from adadsr.checkpoints.sources import BundledModel, bundled_models, bundled_path, load_model, model_name

__all__ = [
    "BundledModel",
    "Conversion",
    "Header",
    "bundled_models",
    "bundled_path",
    "convert",
    "convert_published",
    "describe",
    "load",
    "load_model",
    "model_name",
    "read_config",
    "read_header",
    "read_published",
    "save",
]
