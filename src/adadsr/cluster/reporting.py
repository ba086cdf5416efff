"""Manifest -> report: JSON as of `adadsr upscale --report`, Markdown, and a plot of cost against predicted loss."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from adadsr import __version__
from adadsr.batch import Status
from adadsr.cluster import ledger
from adadsr.cluster.ledger import Ledger
from adadsr.cluster.outcome import Outcome

MOST_IMAGES = 10_000
"""Images that the JSON lists; of larger collections it refers to the manifest. And failures without a row."""
MOST_FAILURES = 200
"""Failures that the Markdown lists."""
MOST_POINTS = 20_000
PLOT = "report.png"


def write(book: Ledger, outcome: Outcome) -> list[str]:
    """Write the report beside the manifest; returns the addresses of its files, the Markdown first."""
    content = as_json(outcome)
    plot = plotted(outcome.rows)
    files = {"report.md": as_markdown(content, outcome.rows, has_plot=plot is not None).encode()}
    files["report.json"] = (json.dumps(content, indent=2) + "\n").encode()
    if plot is not None:
        files[PLOT] = plot
    for name, data in files.items():
        book.place.replace(name, data)
    return [book.place.join(name) for name in files]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The whole collection as plain values; keys as of `batch.as_json`, totals, and failures of what has no row."""
    counts = {status.value: 0 for status in Status} | {
        "done": outcome.done,
        "failed": outcome.failed + len(outcome.failures),
        "skipped": len(outcome.skipped),
    }
    content: dict[str, Any] = {
        "adadsr": __version__,
        "interrupted": outcome.interrupted,
        "counts": counts,
        "chosen_for": outcome.chosen_for,
        "left_out": outcome.left_out.counts(),
        "notes": outcome.notes,
        "failures": [reason for _, reason in outcome.failures[:MOST_IMAGES]],
        "more_failures": max(0, len(outcome.failures) - MOST_IMAGES),
        "shared": None if outcome.decision is None else outcome.decision.as_json(),
        "totals": totals(outcome.rows) | {"run_seconds": round(outcome.seconds, 3)},
    }
    if outcome.rows.num_rows <= MOST_IMAGES:
        content["images"] = outcome.rows.to_pylist()
    else:
        content["images_in"] = "manifest/"
    return content


def totals(rows: pa.Table) -> dict[str, float | None]:
    """Sums and means over the outputs that are there."""
    done = ledger.done_only(rows)

    def total(name: str) -> float:
        return float(pc.sum(done[name]).as_py() or 0.0)

    megapixels = sum(width * height for width, height in done["output_size"].to_pylist()) / 1e6
    losses = done["predicted_loss"].drop_null()
    dense = total("dense_gmacs")
    return {
        "output_megapixels": round(megapixels, 3),
        "input_bytes": int(total("input_bytes")),
        "output_bytes": int(total("output_bytes")),
        "executed_gmacs": round(total("executed_gmacs"), 3),
        "dense_gmacs": round(dense, 3),
        "cost": round(total("executed_gmacs") / dense, 4) if dense else None,
        "mean_predicted_loss": round(float(pc.mean(losses).as_py()), 4) if len(losses) else None,
        "worker_seconds": round(total("total_seconds"), 3),
    }


def as_markdown(content: dict[str, Any], rows: pa.Table, *, has_plot: bool) -> str:
    """The report for people."""
    lines = ["# Upscaled collection", ""]
    lines += [f"- {number} {status}" for status, number in content["counts"].items() if number]
    if content["chosen_for"]:
        lines.append(f"- {sum(content['chosen_for'].values())} of them lossy (network for photos)")
    lines += [f"- {line}" for line in (*_totals_told(content["totals"]), *_shared_told(content["shared"]))]
    lines += [f"- {note}" for note in content["notes"]]
    if has_plot:
        lines += ["", f"![Cost of each image against its predicted loss]({PLOT})"]
    reasons = content["failures"] + rows.filter(pc.equal(rows["status"], "failed"))["reason"].to_pylist()
    if reasons:
        lines += ["", "## Failed", ""]
        lines += [f"- {reason}" for reason in reasons[:MOST_FAILURES]]
        more = content["counts"]["failed"] - MOST_FAILURES
        if more > 0:
            lines.append(f"- and {more} more, in report.json and the manifest")
    return "\n".join(lines) + "\n"


def _totals_told(sums: dict[str, Any]) -> list[str]:
    told = [f"{sums['output_megapixels']:.1f} megapixels of outputs"]
    if sums["cost"] is not None:
        told.append(f"{sums['cost']:.1%} of the full network's cost")
    if sums["mean_predicted_loss"]:
        told.append(f"{sums['mean_predicted_loss']:.3f} dB predicted loss on average")
    return [*told, f"{sums['run_seconds']:.0f} s for the last run; {sums['worker_seconds']:.0f} s of all workers"]


def _shared_told(decision: dict[str, Any] | None) -> list[str]:
    if decision is None:
        return []
    told = [f"{decision['predicted_loss']:.3f} dB predicted loss of all together"]
    if decision["equal_loss"] is not None:
        told[0] += f", {decision['equal_loss']:.3f} dB with this budget for each"
    gains = f"blocks run where they gain at least {decision['least_gain']:.4g} squared levels"
    if decision["paces"]:
        gains += f" at first, {decision['paces'][-1][1]:.4g} at the end, to keep to the time"
    return [*told, gains]


def plotted(rows: pa.Table) -> bytes | None:
    """A PNG; None without matplotlib, or if nothing was saved."""
    known = rows.filter(pc.less(rows["achieved_budget"], 1))
    known = known.filter(pc.is_valid(known["predicted_loss"]))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if not known.num_rows:
        return None
    known = known.take(pa.array(range(0, known.num_rows, -(-known.num_rows // MOST_POINTS))))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(known["achieved_budget"].to_numpy(), known["predicted_loss"].to_numpy(), s=6, alpha=0.5)
    axes.set_xlabel("budget: share of the full network's cost")
    axes.set_ylabel("predicted loss in dB")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
