"""How figures look."""

from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

PANEL = (3.3, 2.5)
"""Inches of one panel: two fill a page's width."""
# Okabe and Ito's palette: its colours differ in gray print, too.
COLORS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


def missing() -> str | None:
    """Why nothing can be drawn; None if it can."""
    if find_spec("matplotlib") is not None:
        return None
    return "matplotlib is not installed, so no plots were drawn; run pip install 'adadsr[evaluate]'"


def styled() -> AbstractContextManager[Any]:
    """Figures made inside look as `STYLE` says."""
    context: AbstractContextManager[Any] = import_module("matplotlib").rc_context(STYLE)
    return context


def new_figure(width: float, height: float) -> Any:
    """A figure (size in inches) with constrained layout; no window, no global state."""
    return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
