"""The only way anything else runs a model: weights, backend, budget and tiling together."""

from adadsr.upscaler.report import Report
from adadsr.upscaler.upscaler import Upscaled, Upscaler

__all__ = ["Report", "Upscaled", "Upscaler"]
