"""Adaptive-depth single-image super-resolution (after arXiv:2004.03915)."""

__version__ = "0.1.0"
