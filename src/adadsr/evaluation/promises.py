"""Plots of what was promised against what happened: requested and achieved budget, predicted and real loss."""

from itertools import pairwise
from typing import Any, NamedTuple

from adadsr.evaluation.figures import COLORS, MARKERS, PANEL, new_figure
from adadsr.evaluation.records import Case, ImageRecord, Row


class _Met(NamedTuple):
    """A requested budget, what was achieved, and the extremes over the images; in percent."""

    requested: float
    achieved: float
    least: float
    most: float


def draw_budgets(rows: list[Row], records: dict[Case, list[ImageRecord]]) -> Any:
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


class Loss(NamedTuple):
    """Losses of PSNR-Y against full depth in dB: of each image of a case, and their means."""

    case: Case
    predicted: list[float]
    real: list[float]

    @property
    def means(self) -> tuple[float, float]:
        """Mean predicted and real loss."""
        return sum(self.predicted) / len(self.predicted), sum(self.real) / len(self.real)


def losses_of(rows: list[Row], records: dict[Case, list[ImageRecord]]) -> list[Loss]:
    """The losses of all cases that predict them and whose model was also measured at full depth."""
    full = {(row.case.model, row.case.dataset): row.case for row in rows if row.effort.budget == 1}
    losses = []
    for row in rows:
        case, whole = row.case, full.get((row.case.model, row.case.dataset))
        if whole is None or case == whole or row.effort.predicted_loss is None:
            continue
        reference = {record.image: record.quality.psnr_y for record in records[whole]}
        both = [
            (record.effort.predicted_loss, before - after)
            for record in records[case]
            if (before := reference[record.image]) is not None
            and (after := record.quality.psnr_y) is not None
            and record.effort.predicted_loss is not None
        ]
        if both:
            losses.append(Loss(case, [predicted for predicted, _ in both], [real for _, real in both]))
    return losses


def draw_losses(losses: list[Loss]) -> Any:
    """Predicted against real loss: a small mark for each image, a large one for the mean of a case."""
    figure = new_figure(2 * PANEL[0], PANEL[1] + 1.0)
    panel = figure.subplots()
    names = list(dict.fromkeys(f"{loss.case.dataset}, {loss.case.model}" for loss in losses))
    most = max(max(loss.means) for loss in losses)
    panel.plot([0, 2 * most], [0, 2 * most], color="0.6", linewidth=0.8, zorder=0)
    for loss in losses:
        name = f"{loss.case.dataset}, {loss.case.model}"
        index = names.index(name)
        look: dict[str, Any] = {
            "color": COLORS[index % len(COLORS)],
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": "none",
        }
        panel.plot(loss.predicted, loss.real, markersize=2, alpha=0.35, **look)
        first = next(other for other in losses if f"{other.case.dataset}, {other.case.model}" == name)
        panel.plot(*([mean] for mean in loss.means), label=name if loss is first else None, **look)
    span = (-0.1 * most, 2 * most)
    panel.set(xlabel="predicted loss of PSNR-Y (dB)", ylabel="real loss (dB)", xlim=span, ylim=span)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
