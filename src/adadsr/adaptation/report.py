"""The report of an adaptation: `report.md`, `report.json`, and with matplotlib the curve and crops with depth maps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adadsr import atomic
from adadsr.adaptation.fidelity import CUT_OFF, TYPICAL_SIDE, WAYS, Figures, Point, Shown
from adadsr.adaptation.photos import Pixels
from adadsr.errors import TrainingError, cause_of
from adadsr.evaluation import figures as look
from adadsr.evaluation.figures import COLORS, DASHES, MARKERS, PANEL, new_figure, styled
from adadsr.training.validation import HIGHEST

SHARES = (1.0, 0.75, 0.5)
"""Budgets of the crops, as shares of the body."""
TABLE_SHARES = (1.0, 0.75, 0.5, 0.25)
CROP = 64
"""Side of a crop in LR pixels."""
CELL = 1.7
"""Inches of a crop."""


def write_report(folder: Path, figures: Figures, name: str) -> list[Path]:
    """Write the report; returns its files. name: of the network. Raises TrainingError if writing fails."""
    try:
        atomic.make_folder(folder)
        drawn = [] if look.missing() else _draw(folder, figures, name)
        atomic.write_text(folder / "report.json", json.dumps(report_content(figures, name), indent=1))
        atomic.write_text(folder / "report.md", _markdown(figures, name, drawn))
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot write the report ({cause_of(error)}); free some space and repeat the command"
        ) from error
    return [folder / "report.md", folder / "report.json", *drawn]


def report_content(figures: Figures, name: str) -> dict[str, Any]:
    """The figures as plain values for JSON. A PSNR of None: equal to the full output; a way without one: not known."""
    return {
        "network": name,
        "pictures": figures.pictures,
        "blocks": figures.blocks,
        "budget": {str(share): round(figures.budgets[share], 3) for share in TABLE_SHARES},
        "psnr_y_to_full_output": {str(share): _row(figures, share) for share in TABLE_SHARES},
        "curves": {way: [_point(point) for point in points] for way, points in figures.curves.items()},
    }


def table(figures: Figures) -> str:
    """PSNR-Y of each way at each share, as Markdown."""
    lines = ["| share of the body (`--budget`) | " + " | ".join(WAYS) + " |", "|---" * (1 + len(WAYS)) + "|"]
    for share in TABLE_SHARES:
        row = _row(figures, share)
        cells = " | ".join(_decibels(row[way], way, share) if way in row else "-" for way in WAYS)
        lines.append(f"| {share:.0%} ({figures.budgets[share]:.2f}) | {cells} |")
    return "\n".join(lines)


def _row(figures: Figures, share: float) -> dict[str, float | None]:
    known = {way: figures.at(way, share) for way in WAYS}
    return {way: _finite(psnr) for way, psnr in known.items() if psnr is not None}


def _point(point: Point) -> dict[str, float | None]:
    return {"share": point.share, "psnr": _finite(point.psnr)}


def _finite(psnr: float) -> float | None:
    """A PSNR to three decimals; None for equal pictures."""
    return None if psnr >= HIGHEST else round(psnr, 3)


def _decibels(value: float | None, way: str, share: float) -> str:
    if way == CUT_OFF and share == 1:
        return "the reference"
    return "equal" if value is None else f"{value:.2f}"


def _markdown(figures: Figures, name: str, drawn: Sequence[Path]) -> str:
    pictures = "\n".join(f"![{path.stem}]({path.name})\n" for path in drawn) or (look.missing() or "")
    photos = "1 held-out photo" if figures.pictures == 1 else f"{figures.pictures} held-out photos"
    return f"""# {name}, made adaptive

Mean PSNR-Y in dB to the dense network's full output on {photos}.
Rows show how much of the body's multiply-accumulates ran. In parentheses is the `--budget` that runs as much on a
picture of {TYPICAL_SIDE}x{TYPICAL_SIDE} pixels; it also counts head, adapter and tail.
"One depth everywhere" and "cut off" run whole blocks and are interpolated between them.

{table(figures)}

{pictures}"""


def _draw(folder: Path, figures: Figures, name: str) -> list[Path]:
    with styled():
        drawn = {"curve.png": _curve(figures, name)}
        drawn |= {f"crops-{index + 1}.png": _crops(shown, figures) for index, shown in enumerate(figures.shown)}
        for file, figure in drawn.items():
            with atomic.replacing(folder / file) as hidden:
                figure.savefig(hidden, dpi=200, format="png")
    return [folder / file for file in drawn]


def _curve(figures: Figures, name: str) -> Any:
    figure = new_figure(1.6 * PANEL[0], 1.5 * PANEL[1])
    panel = figure.subplots()
    for index, way in enumerate(WAYS):
        points = [point for point in figures.curves[way] if not point.is_equal]
        shares, values = [100 * point.share for point in points], [point.psnr for point in points]
        equal = [f"{point.share:.0%}" for point in figures.curves[way] if point.is_equal and way != CUT_OFF]
        label = f"{way} (equal at {', '.join(equal)})" if equal else way
        panel.plot(shares, values, label=label, color=COLORS[index], marker=MARKERS[index], linestyle=DASHES[index])
    panel.set(xlabel="share of the body (%)", ylabel="PSNR-Y to the full output (dB)", title=name, xlim=(0, 104))
    panel.legend()
    return figure


def _crops(shown: Shown, figures: Figures) -> Any:
    """Upper row: LR, the output before, and at each budget. Lower row: the depth maps."""
    columns = 2 + len(SHARES)
    figure = new_figure(CELL * columns, 2 * CELL + 0.7)
    axes = figure.subplots(2, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    side = min(CROP, *shown.lr.shape[:2])
    top, left = _most_varied(shown, side)
    scale = shown.full.shape[0] // shown.lr.shape[0]

    def show(axis: Any, image: Any, title: str, factor: int = scale, **options: Any) -> Any:
        axis.set_title(title)
        part = image[top * factor : (top + side) * factor, left * factor : (left + side) * factor]
        return axis.imshow(part, interpolation="nearest", **options)

    show(axes[0, 0], shown.lr, "LR", 1)
    show(axes[0, 1], shown.full, "before, full depth")
    drawn = None
    for column, share in enumerate(SHARES, 2):
        sr, depth_map = shown.at[share]
        show(axes[0, column], sr, f"{share:.0%} of the body")
        depths = depth_map.mean(axis=0)
        pixels = depths.repeat(shown.lr.shape[0] // len(depths) or 1, 0).repeat(
            shown.lr.shape[1] // depths.shape[1] or 1, 1
        )
        title = f"mean depth {depths.mean():.1f}"
        drawn = show(axes[1, column], pixels, title, 1, cmap="viridis", vmin=0, vmax=figures.blocks)
    figure.colorbar(drawn, ax=axes[1, :2], label="blocks run", location="left", shrink=0.9)
    return figure


def _most_varied(shown: Shown, side: int) -> tuple[int, int]:
    """Corner of the square in which the output at half of the body differs most from the full one."""
    scale = shown.full.shape[0] // shown.lr.shape[0]
    error = _difference(shown.at[SHARES[-1]][0], shown.full)
    best, corner = -1.0, (0, 0)
    for top in range(0, shown.lr.shape[0] - side + 1, 4):
        for left in range(0, shown.lr.shape[1] - side + 1, 4):
            inside = error[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
            if (mean := float(inside.mean())) > best:
                best, corner = mean, (top, left)
    return corner


def _difference(one: Pixels, other: Pixels) -> Any:
    return ((one.astype("float32") - other) ** 2).mean(axis=2)
