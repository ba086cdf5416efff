"""Results -> JSON: one object per run that contains one per image."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adadsr import __version__, atomic
from adadsr.batch.checking import make_folder
from adadsr.batch.jobs import Jobs
from adadsr.batch.results import Result, Status
from adadsr.errors import ImageFileError, InputError, cause_of
from adadsr.upscaler import Report

_START = b'{\n  "adadsr": "'


def as_json(results: Sequence[Result], jobs: Jobs, *, interrupted: bool = False) -> dict[str, Any]:
    """The whole run as plain values.

    Sizes are [width, height] in pixels; `seconds` is the network's time, `total_seconds` includes reading and writing;
    a GMAC is 10^9 multiply-accumulates; unknown values are null. `chosen_for` counts the images for which a network for
    photos was chosen, by their lossy format. jobs: where the results come from.
    """
    counts = Counter(result.status for result in results)
    reports = [result.report for result in results if result.report is not None]
    return {
        "adadsr": __version__,
        "interrupted": interrupted,
        "counts": {status.value: counts[status] for status in Status},
        "chosen_for": Counter(report.chosen_for for report in reports if report.chosen_for is not None),
        "left_out": jobs.left_out.counts(),
        "notes": jobs.notes,
        "images": [as_row(result) for result in results],
    }


def as_row(result: Result) -> dict[str, Any]:
    """One image as plain values."""
    return {
        "input": str(result.source),
        "output": None if result.target is None else str(result.target),
        "depth_map": None if result.depth_view is None else str(result.depth_view),
        "status": result.status.value,
        "reason": result.reason,
        "damage": result.damage,
        "warnings": list(result.warnings),
        "total_seconds": round(result.seconds, 4),
        **_measurements(result.report),
    }


def _measurements(report: Report | None) -> dict[str, Any]:
    """All fields of a report, rounded; the same keys with null if there is none."""
    values = {name: None if report is None else getattr(report, name) for name in Report.__dataclass_fields__}
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = round(value, 6)
        elif isinstance(value, dict):
            values[name] = {part: round(share, 6) for part, share in value.items()}
    return values


def prepare_json(path: Path, jobs: Jobs) -> None:
    """Make the report's folder. Raises ImageFileError if it is not writable, InputError if the path is taken.

    An earlier report may be replaced, other files may not.
    """
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; pass a file name for the report")
    taken = {os.path.realpath(file) for job in (*jobs.to_run, *jobs.existing) for file in (job.source, *job.outputs)}
    if os.path.realpath(path) in taken:
        raise InputError(f"{path}: the report would overwrite an image; choose another name")
    if os.path.exists(path) and not _is_report(path):
        raise InputError(f"{path}: exists and is not an adadsr report; choose another name")
    if reason := make_folder(path.parent):
        raise ImageFileError(reason)


def _is_report(path: Path) -> bool:
    """Whether a file begins as `write_json` writes reports."""
    try:
        if not path.is_file():  # opening a pipe would block forever
            return False
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write `content` completely or not at all. Raises ImageFileError if that fails."""
    try:
        atomic.write_text(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ImageFileError(
            f"{os.fspath(path)}: cannot write the report ({cause_of(error)}); choose another path"
        ) from error
