"""Curves: PSNR against executed cost and against time, requested against achieved budget."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from adadsr.evaluation.records import ImageRecord, Row
from adadsr.evaluation.style import COLORS, DASHES, MARKERS, PANEL, new_figure, styled
from adadsr.evaluation.tables import asked

Measure = Callable[[Row], float]


def draw_plots(out: Path, rows: list[Row], records: list[ImageRecord]) -> list[Path]:
    """Write the plots that these rows have something for, as PNG; returns their paths."""
    networks = [row for row in rows if row.gmacs is not None and row.psnr_y is not None]
    timed = networks or [row for row in rows if row.psnr_y is not None]
    files = []
    with styled():
        if networks:
            files.append(out / "psnr-gmacs.png")
            _save(_curves(rows, networks, _gmacs, "executed GMACs per image"), files[-1])
        if timed:
            files.append(out / "psnr-ms.png")
            _save(_curves(rows, timed, _milliseconds, "milliseconds per image"), files[-1])
        budgets = [row for row in rows if row.budget is not None and row.achieved_budget is not None]
        if budgets:
            files.append(out / "budget.png")
            _save(_budgets(budgets, records), files[-1])
    return files


def _gmacs(row: Row) -> float:
    return (row.gmacs or 0.0) / row.images


def _milliseconds(row: Row) -> float:
    return 1000 * row.seconds / row.images


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=200)


def _curves(rows: list[Row], shown: list[Row], across: Measure, axis: str) -> Any:
    """One panel for each data set, a line for each model through its budgets."""
    datasets = list(dict.fromkeys(row.dataset for row in shown))
    models = list(dict.fromkeys(row.model for row in shown))
    columns = min(len(datasets), 2 if len(datasets) in (2, 4) else 3)
    lines = math.ceil(len(datasets) / columns)
    figure = new_figure(PANEL[0] * columns, PANEL[1] * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel, dataset in zip(panels, datasets, strict=False):
        for index, model in enumerate(models):
            curve = sorted((row for row in shown if (row.dataset, row.model) == (dataset, model)), key=across)
            if curve:
                _curve(panel, curve, across, index, marked=len(models) == 1)
        panel.ticklabel_format(useOffset=False)
        of_dataset = [row for row in shown if row.dataset == dataset]
        baselines = [row for row in rows if row.dataset == dataset and row not in shown]
        panel.set_title(_title(of_dataset[0], baselines), fontsize=8)
        panel.set(xlabel=axis, ylabel="PSNR-Y (dB)", xlim=(0, 1.15 * max(map(across, of_dataset))))
        panel.margins(y=0.14)
    for panel in panels:
        panel.set_visible(False)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return figure


def _curve(panel: Any, curve: list[Row], across: Measure, index: int, *, marked: bool) -> None:
    """One model's points joined in order of cost; marked: with what was asked for beside each point."""
    panel.plot(
        [across(row) for row in curve],
        [row.psnr_y for row in curve],
        label=curve[0].model,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=DASHES[index % len(DASHES)],
    )
    for row in curve if marked else []:
        panel.annotate(asked(row.target), (across(row), row.psnr_y), (4, -10), textcoords="offset points", fontsize=7)


def _title(shown: Row, baselines: list[Row]) -> str:
    """Data set, scale, and the baselines: they lie decibels below, so that drawing them would flatten every curve."""
    figures = [f"{row.model} {row.psnr_y:.2f}" for row in baselines if row.psnr_y is not None]
    note = f"\n{', '.join(figures)} dB" if figures else ""
    return f"{shown.dataset}, x{shown.scale}{note}"


def _budgets(rows: list[Row], records: list[ImageRecord]) -> Any:
    """Left: requested against achieved. Right: the difference in percentage points, bars from least to most image."""
    models = list(dict.fromkeys(row.model for row in rows))
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    series = [(model, dataset) for model in models for dataset in datasets]
    figure = new_figure(2 * PANEL[0], PANEL[1] + 0.4 + 0.09 * len(series))
    left, right = figure.subplots(1, 2)
    left.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, zorder=0)
    right.axhspan(-1, 1, color="0.92", zorder=0)
    right.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    apart = min(3.0, 70 * _closest([row.budget or 0 for row in rows]) / len(series))
    for index, (model, dataset) in enumerate(series):
        chosen = [row for row in rows if (row.model, row.dataset) == (model, dataset)]
        look: dict[str, Any] = {
            "color": COLORS[models.index(model) % len(COLORS)],
            "marker": MARKERS[datasets.index(dataset) % len(MARKERS)],
            "linestyle": "none",
            "markerfacecolor": "none",
        }
        wanted = [100 * (row.budget or 0) for row in chosen]
        got = [100 * (row.achieved_budget or 0) for row in chosen]
        left.plot(wanted, got, label=f"{dataset}, {model}", **look)
        beside = [value + apart * (index - (len(series) - 1) / 2) for value in wanted]
        look |= {"markersize": 3.5, "elinewidth": 0.8, "capsize": 1.5}
        right.errorbar(beside, _minus(got, wanted), _spread(chosen, records), **look)
    left.set(xlabel="requested budget (% of dense GMACs)", ylabel="achieved budget (%)", xlim=(0, 105), ylim=(0, 105))
    right.set(xlabel="requested budget (% of dense GMACs)", ylabel="achieved − requested (points)")
    low, high = right.get_ylim()
    right.set(xlim=(0, 108), ylim=(min(low, -1.2), max(high, 1.2)))
    right.text(
        0.02,
        0.02,
        "shaded: within 1 percentage point; bars: all images",
        transform=right.transAxes,
        fontsize=7,
        color="0.3",
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _closest(values: list[float]) -> float:
    """The smallest difference between two values that are not equal; 1 where there are none."""
    different = sorted(set(values))
    return min((high - low for low, high in pairwise(different)), default=1.0)


def _minus(values: list[float], others: list[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]


def _spread(rows: list[Row], records: list[ImageRecord]) -> list[list[float]]:
    """How far below and above each row's budget its images reach, in percentage points."""
    below, above = [], []
    for row in rows:
        key = (row.model, row.dataset, row.budget)
        shares = [
            (record.gmacs or 0) / record.dense_gmacs
            for record in records
            if (record.model, record.dataset, record.budget) == key and record.dense_gmacs
        ]
        middle = row.achieved_budget or 0
        below.append(max(0.0, 100 * (middle - min(shares, default=middle))))
        above.append(max(0.0, 100 * (max(shares, default=middle) - middle)))
    return [below, above]
