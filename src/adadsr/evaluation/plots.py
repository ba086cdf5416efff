"""How figures look, and the curves: PSNR against executed cost and time, requested against achieved budget."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from adadsr.evaluation.records import Case, ImageRecord, Row, target_label

Measure = Callable[[Row], float]

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


def draw_plots(out: Path, rows: list[Row], records: dict[Case, list[ImageRecord]]) -> list[Path]:
    """Write the plots that these rows have something for, as PNG; returns their paths.

    records: the images of each row.
    """
    shown = [row for row in rows if row.quality.psnr_y is not None]
    networks = [row for row in shown if row.effort.gmacs is not None]
    budgets = [row for row in rows if row.case.target.budget is not None]
    figures: list[tuple[str, Callable[[], Any]]] = []
    if networks:
        figures.append(("psnr-gmacs.png", lambda: _curves(rows, networks, _gmacs, "executed GMACs per image")))
    if shown:
        figures.append(
            ("psnr-ms.png", lambda: _curves(rows, networks or shown, _milliseconds, "milliseconds per image"))
        )
    if budgets:
        figures.append(("budget.png", lambda: _budgets(budgets, records)))
    with styled():
        for name, draw in figures:
            draw().savefig(out / name, dpi=200)
    return [out / name for name, _ in figures]


def _gmacs(row: Row) -> float:
    return (row.effort.gmacs or 0.0) / row.images


def _milliseconds(row: Row) -> float:
    return 1000 * row.effort.seconds / row.images


def _curves(rows: list[Row], shown: list[Row], across: Measure, axis: str) -> Any:
    """One panel for each data set, a line for each model through its budgets."""
    datasets = list(dict.fromkeys(row.case.dataset for row in shown))
    models = list(dict.fromkeys(row.case.model for row in shown))
    columns = min(len(datasets), 2 if len(datasets) in (2, 4) else 3)
    lines = math.ceil(len(datasets) / columns)
    figure = new_figure(PANEL[0] * columns, PANEL[1] * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel, dataset in zip(panels, datasets, strict=False):
        of_dataset = [row for row in shown if row.case.dataset == dataset]
        for index, model in enumerate(models):
            curve = sorted((row for row in of_dataset if row.case.model == model), key=across)
            if curve:
                _curve(panel, curve, across, index, marked=len(models) == 1)
        panel.ticklabel_format(useOffset=False)
        baselines = [row for row in rows if row.case.dataset == dataset and row not in shown]
        panel.set_title(_title(of_dataset[0], baselines), fontsize=8)
        panel.set(xlabel=axis, ylabel="PSNR-Y (dB)", xlim=(0, 1.15 * max(map(across, of_dataset))))
        panel.margins(y=0.14)
    for panel in panels:
        panel.set_visible(False)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return figure


def _curve(panel: Any, curve: list[Row], across: Measure, index: int, *, marked: bool) -> None:
    """One model's points joined in order of cost; marked: with the target next to each point."""
    panel.plot(
        [across(row) for row in curve],
        [row.quality.psnr_y for row in curve],
        label=curve[0].case.model,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=DASHES[index % len(DASHES)],
    )
    for row in curve if marked else []:
        at = (across(row), row.quality.psnr_y)
        panel.annotate(target_label(row.case.target), at, (4, -10), textcoords="offset points", fontsize=7)


def _title(shown: Row, baselines: list[Row]) -> str:
    """Data set, scale, and the baselines: they lie decibels below, so that drawing them would flatten every curve."""
    figures = [f"{row.case.model} {row.quality.psnr_y:.2f}" for row in baselines if row.quality.psnr_y is not None]
    note = f"\n{', '.join(figures)} dB" if figures else ""
    return f"{shown.case.dataset}, x{shown.case.scale}{note}"


class _Met(NamedTuple):
    """A requested budget, what was achieved, and the extremes over the images; in percent."""

    requested: float
    achieved: float
    least: float
    most: float


def _budgets(rows: list[Row], records: dict[Case, list[ImageRecord]]) -> Any:
    """Left: requested against achieved. Right: the difference in percentage points, bars from least to most image."""
    models = list(dict.fromkeys(row.case.model for row in rows))
    datasets = list(dict.fromkeys(row.case.dataset for row in rows))
    series = [(model, dataset) for model in models for dataset in datasets]
    figure = new_figure(2 * PANEL[0], PANEL[1] + 0.4 + 0.09 * len(series))
    left, right = figure.subplots(1, 2)
    _frame_budgets(left, right)
    apart = min(3.0, 0.7 * _closest([_met(row, records).requested for row in rows]) / len(series))
    for index, (model, dataset) in enumerate(series):
        points = [_met(row, records) for row in rows if (row.case.model, row.case.dataset) == (model, dataset)]
        look: dict[str, Any] = {
            "color": COLORS[models.index(model) % len(COLORS)],
            "marker": MARKERS[datasets.index(dataset) % len(MARKERS)],
            "linestyle": "none",
            "markerfacecolor": "none",
        }
        left.plot([p.requested for p in points], [p.achieved for p in points], label=f"{dataset}, {model}", **look)
        shift = apart * (index - (len(series) - 1) / 2)
        right.errorbar(
            [p.requested + shift for p in points],
            [p.achieved - p.requested for p in points],
            [[p.achieved - p.least for p in points], [p.most - p.achieved for p in points]],
            **look | {"markersize": 3.5, "elinewidth": 0.8, "capsize": 1.5},
        )
    low, high = right.get_ylim()
    right.set(xlim=(0, 108), ylim=(min(low, -1.2), max(high, 1.2)))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _frame_budgets(left: Any, right: Any) -> None:
    """Axes, and what a budget met exactly looks like."""
    requested = "requested budget (% of dense GMACs)"
    left.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, zorder=0)
    left.set(xlabel=requested, ylabel="achieved budget (%)", xlim=(0, 105), ylim=(0, 105))
    right.axhspan(-1, 1, color="0.92", zorder=0)
    right.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    right.set(xlabel=requested, ylabel="achieved − requested (points)")
    note = "shaded: within 1 percentage point; bars: all images"
    right.text(0.02, 0.02, note, transform=right.transAxes, fontsize=7, color="0.3")


def _met(row: Row, records: dict[Case, list[ImageRecord]]) -> _Met:
    shares = [100 * (record.effort.budget or 0.0) for record in records[row.case]]
    # Rounding may put the mean over all images beyond the extremes, and bars have no negative length.
    achieved = min(max(100 * (row.effort.budget or 0.0), min(shares)), max(shares))
    return _Met(100 * (row.case.target.budget or 0.0), achieved, min(shares), max(shares))


def _closest(values: list[float]) -> float:
    """The smallest difference between two values that are not equal; 100 if there are none."""
    different = sorted(set(values))
    return min((high - low for low, high in pairwise(different)), default=100.0)
