"""What is written for people and programs: the tables, and what the figures were measured with."""

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import adadsr
from adadsr import atomic
from adadsr.backends import device_name
from adadsr.evaluation.records import Row, target_label
from adadsr.evaluation.runners import Runner
from adadsr.machine import default_threads
from adadsr.upscaler import Execution

PACKAGES = ("numpy", "pyvips", "torch", "triton")

COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("model", lambda row: row.case.model),
    ("target", lambda row: target_label(row.case.target)),
    ("PSNR-Y dB", lambda row: _number(row.quality.psnr_y, ".3f")),
    ("SSIM-Y", lambda row: _number(row.quality.ssim_y, ".4f")),
    ("PSNR-RGB dB", lambda row: _number(row.quality.psnr_rgb, ".3f")),
    ("achieved", lambda row: _number(row.effort.budget, ".2%")),
    ("predicted loss dB", lambda row: _number(row.effort.predicted_loss, ".3f")),
    ("mean depth", lambda row: _number(row.effort.mean_depth, ".2f")),
    ("GMAC", lambda row: _number(_per_image(row, row.effort.gmacs), ".2f")),
    ("dense GMAC", lambda row: _number(_per_image(row, row.effort.dense_gmacs), ".2f")),
    ("ms", lambda row: _number(1000 * row.effort.seconds / row.images, ".1f")),
    ("paper GFLOP", lambda row: _number(_per_image(row, row.effort.paper_gflops), ".2f")),
    ("paper dense GFLOP", lambda row: _number(_per_image(row, row.effort.paper_dense_gflops), ".2f")),
    ("paper depth", lambda row: _number(row.effort.paper_depth, ".2f")),
)
"""Heading -> text of a row. Cost and time are per image."""
SHORT = ("model", "target", "PSNR-Y dB", "SSIM-Y", "achieved", "GMAC", "ms")
"""Headings of the columns that fit a terminal."""


def write(out: Path, rows: Sequence[Row], environment: dict[str, Any]) -> list[Path]:
    """Write results.json and results.md; returns their paths. Raises OSError."""
    results = {"rows": [row.flat() for row in rows], "environment": environment}
    texts = {
        out / "results.json": json.dumps(results, indent=1, allow_nan=False) + "\n",
        out / "results.md": markdown(rows, environment),
    }
    for path, text in texts.items():
        atomic.write_text(path, text)
    return list(texts)


def markdown(rows: Sequence[Row], environment: dict[str, Any]) -> str:
    """results.md: a table for each data set, then what it was measured with."""
    lines = ["# Results", "", "Cost and time are per image. Columns are explained in docs/evaluation.md.", ""]
    for dataset in dict.fromkeys(row.case.dataset for row in rows):
        of_dataset = [row for row in rows if row.case.dataset == dataset]
        lines += [f"## {dataset}, x{of_dataset[0].case.scale}, {of_dataset[0].images} images", ""]
        lines.append("| " + " | ".join(name for name, _ in COLUMNS) + " |")
        lines.append("|---|---|" + "---:|" * (len(COLUMNS) - 2))
        lines += ["| " + " | ".join(text(row) for _, text in COLUMNS) + " |" for row in of_dataset]
        lines.append("")
    lines += ["## Environment", ""]
    lines += [f"- {name}: {_plain(value)}" for name, value in environment.items()]
    return "\n".join(lines) + "\n"


def describe_environment(execution: Execution) -> dict[str, Any]:
    """Facts that figures and times depend on, ready for JSON. The name of the machine is not among them.

    threads: of the native engine; torch, which versions name only if it is installed, has a setting of its own.
    """
    facts = {
        "adadsr": adadsr.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "system": f"{platform.system()} {platform.machine()}",
        "device_name": device_name(execution.device),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return facts | asdict(execution) | {"threads": execution.threads or default_threads()}


def describe_backends(runners: Sequence[Runner]) -> dict[str, str]:
    """What ran each network: backend and variant."""
    engines = {runner.model: runner.engine for runner in runners}
    return {model: f"{engine.backend} {engine.variant}" for model, engine in engines.items() if engine is not None}


def _per_image(row: Row, total: float | None) -> float | None:
    return None if total is None else total / row.images


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items()) or "none"
    return "none" if value is None else str(value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of this source tree, `-dirty` if it was changed; None for an installed package."""
    source = Path(__file__)
    # A package installed inside somebody else's repository is not tracked there.
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changed = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
