"""Results -> JSON: one object for a run, with one for each image."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adadsr import __version__, atomic
from adadsr.batch.planning import Plan
from adadsr.batch.running import Result, Status, make_folder
from adadsr.errors import ImageFileError, InputError
from adadsr.upscaler import Report

_START = b'{\n  "adadsr": "'


def as_json(results: Sequence[Result], *, interrupted: bool = False) -> dict[str, Any]:
    """The whole run as plain values.

    Sizes are [width, height] in pixels; `seconds` is the network's time, `total_seconds` has reading and writing too;
    a GMAC is 10^9 multiply-accumulates; what is not known is null.
    """
    counts = Counter(result.status for result in results)
    return {
        "adadsr": __version__,
        "interrupted": interrupted,
        "counts": {status.value: counts[status] for status in Status},
        "images": [_image(result) for result in results],
    }


def _image(result: Result) -> dict[str, Any]:
    return {
        "input": str(result.source),
        "output": None if result.target is None else str(result.target),
        "depth_map": None if result.depth_view is None else str(result.depth_view),
        "status": result.status.value,
        "reason": result.reason,
        "total_seconds": round(result.seconds, 4),
        **_measurements(result.report),
    }


def _measurements(report: Report | None) -> dict[str, Any]:
    """Every field of a report, rounded; the same keys with null where there is none."""
    values = {name: None if report is None else getattr(report, name) for name in Report.__dataclass_fields__}
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = round(value, 6)
        elif isinstance(value, dict):
            values[name] = {part: round(share, 6) for part, share in value.items()}
    return values


def prepare_json(path: Path, plan: Plan) -> None:
    """Make the report's folder. Raises ImageFileError where it cannot be written, InputError where it is in the way.

    An earlier report is replaced, any other file is not.
    """
    if os.path.isdir(path):
        raise InputError(f"{path}: this is a folder; give the name of a file for the report")
    final = path.resolve()
    taken = {file.resolve() for job in (*plan.jobs, *plan.existing) for file in (job.source, *job.outputs)}
    if final in taken:
        raise InputError(f"{path}: the report would replace an image; give another name")
    if os.path.exists(path) and not _is_report(path):
        raise InputError(f"{path}: the file exists already and is no report of adadsr; give another name")
    make_folder(path.parent)


def _is_report(path: Path) -> bool:
    """Whether a file begins as `write_json` writes reports."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write `content`; the file appears under its name whole or not at all. Raises ImageFileError where it cannot."""
    try:
        atomic.write_text(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ImageFileError(
            f"{os.fspath(path)}: the report cannot be written ({error.strerror}); choose another place"
        ) from error
