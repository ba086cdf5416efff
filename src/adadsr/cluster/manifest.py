"""Rows of the manifest, one an input, and the Parquet files that hold them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adadsr.batch import Result, as_row
from adadsr.upscaler import Report

_PARTS = ("head", "adapter", "body", "tail")
_SIDES = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("output", pa.string()),
        ("name", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("damage", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("etag", pa.string()),
        ("input_bytes", pa.int64()),
        ("output_bytes", pa.int64()),
        ("output_sha256", pa.string()),
        ("attempt", pa.int32()),
        ("unit", pa.int32()),
        ("least_gain", pa.float64()),
        ("total_seconds", pa.float64()),
        ("model", pa.string()),
        ("backend", pa.string()),
        ("variant", pa.string()),
        ("device", pa.string()),
        ("scale", pa.float64()),
        ("networks", _SIDES),
        ("reduced_from", _SIDES),
        ("input_size", _SIDES),
        ("output_size", _SIDES),
        ("requested_depth", pa.float64()),
        ("requested_budget", pa.float64()),
        ("requested_max_loss", pa.float64()),
        ("requested_precision", pa.string()),
        ("precision", pa.string()),
        ("achieved_budget", pa.float64()),
        ("mean_depth", pa.float64()),
        ("predicted_loss", pa.float64()),
        ("border", pa.string()),
        ("executed_gmacs", pa.float64()),
        ("dense_gmacs", pa.float64()),
        ("parts", pa.struct([(part, pa.float64()) for part in _PARTS])),
        ("tiles", pa.int32()),
        ("exact", pa.bool_()),
        ("memory_bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("frames", pa.int32()),
        ("requested_seconds", pa.float64()),
        ("time_model", pa.string()),
        ("chosen_for", pa.string()),
    ]
)
"""Columns as the images of `batch.as_json`, and those of a run on many machines.

name: of the output, below the destination. etag: of the input, or a hash of it. attempt, unit: which wrote the row.
least_gain: with a shared budget.
"""
OWN = ("name", "etag", "input_bytes", "output_bytes", "output_sha256", "attempt", "unit", "least_gain")
assert set(Report.__dataclass_fields__) <= set(SCHEMA.names)


def row(result: Result, own: dict[str, Any]) -> dict[str, Any]:
    """The row of a result. own: values of `OWN`, and the addresses `input` and `output`."""
    values = as_row(result) | own
    values["warnings"] = [str(each) for each in values["warnings"]]
    return {name: values[name] for name in SCHEMA.names}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def encode(table: pa.Table) -> bytes:
    """The content of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def decode(content: bytes) -> pa.Table:
    """The table of a Parquet file of this version."""
    return pq.read_table(io.BytesIO(content)).select(SCHEMA.names).cast(SCHEMA)
