"""Adaptive-depth single-image super-resolution (after arXiv:2004.03915)."""

from typing import TYPE_CHECKING, Any

from adadsr.errors import AdaDSRError

if TYPE_CHECKING:
    from adadsr.upscaler import Execution, Plan, Prepared, Report, Upscaled, Upscaler

__version__ = "0.1.0"

__all__ = ["AdaDSRError", "Execution", "Plan", "Prepared", "Report", "Upscaled", "Upscaler", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that training starts on a machine without libvips.
    if name in ("Execution", "Plan", "Prepared", "Report", "Upscaled", "Upscaler"):
        from adadsr import upscaler

        return getattr(upscaler, name)
    raise AttributeError(f"module 'adadsr' has no attribute {name!r}")
