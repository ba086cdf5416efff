"""Rows as a table for people."""

from collections.abc import Callable
from typing import Any

from adadsr.evaluation.records import Row
from adadsr.upscaler.report import Target


def asked(target: Target) -> str:
    """What was asked for, as `50%`, a budget, or `depth 8`; nothing for full depth."""
    if target.budget is not None:
        return f"{100 * target.budget:.4g}%"
    return "" if target.depth is None else f"depth {target.depth:.4g}"


def label(model: str, target: Target) -> str:
    """A model with what it was asked for, as `adaedsr-baseline-x2 50%` or `adaedsr-baseline-x2 depth 8`."""
    return f"{model} {asked(target)}".rstrip()


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("model", lambda row: row.model),
    ("asked", lambda row: asked(row.target)),
    ("PSNR-Y dB", lambda row: _number(row.psnr_y, ".3f")),
    ("SSIM-Y", lambda row: _number(row.ssim_y, ".4f")),
    ("PSNR-RGB dB", lambda row: _number(row.psnr_rgb, ".3f")),
    ("achieved", lambda row: _number(row.achieved_budget, ".2%")),
    ("mean depth", lambda row: _number(row.mean_depth, ".2f")),
    ("GMAC", lambda row: _number(_per_image(row, row.gmacs), ".2f")),
    ("dense GMAC", lambda row: _number(_per_image(row, row.dense_gmacs), ".2f")),
    ("ms", lambda row: _number(1000 * row.seconds / row.images, ".1f")),
    ("paper GFLOP", lambda row: _number(_per_image(row, row.paper_gflops), ".2f")),
    ("paper dense GFLOP", lambda row: _number(_per_image(row, row.paper_dense_gflops), ".2f")),
    ("paper depth", lambda row: _number(row.paper_depth, ".2f")),
)
"""Heading -> text of a row. Cost and time are those of one image."""
SHORT = ("model", "asked", "PSNR-Y dB", "SSIM-Y", "achieved", "GMAC", "ms")
"""Headings of the columns that fit a terminal."""


def markdown(rows: list[Row], environment: dict[str, Any]) -> str:
    """results.md: a table for each data set, then what it was made with."""
    lines = ["# Results", "", "Cost and time are means over the images. What each column is: docs/evaluation.md.", ""]
    for dataset in dict.fromkeys(row.dataset for row in rows):
        of_dataset = [row for row in rows if row.dataset == dataset]
        lines += [f"## {dataset}, x{of_dataset[0].scale}, {of_dataset[0].images} images", ""]
        lines.append("| " + " | ".join(name for name, _ in COLUMNS) + " |")
        lines.append("|---|---|" + "---:|" * (len(COLUMNS) - 2))
        lines += ["| " + " | ".join(text(row) for _, text in COLUMNS) + " |" for row in of_dataset]
        lines.append("")
    lines += ["## Environment", ""]
    lines += [f"- {name}: {_plain(value)}" for name, value in environment.items()]
    return "\n".join(lines) + "\n"


def _per_image(row: Row, total: float | None) -> float | None:
    return None if total is None else total / row.images


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return "none" if value is None else str(value)
