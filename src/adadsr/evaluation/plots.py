"""The plots of an evaluation; here the curves: PSNR against executed cost and time."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adadsr.evaluation import promises
from adadsr.evaluation.figures import COLORS, DASHES, MARKERS, PANEL, new_figure, styled
from adadsr.evaluation.records import Case, ImageRecord, Row, target_label

Measure = Callable[[Row], float]


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
        figures.append(("budget.png", lambda: promises.draw_budgets(budgets, records)))
    losses = promises.losses_of(networks, records)
    if losses:
        figures.append(("loss.png", lambda: promises.draw_losses(losses)))
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
