"""Many image files: the output of each, a run that a bad file does not stop, and the JSON report.

jobs       inputs and output path -> jobs
running    jobs -> results, one after the other
interrupts Ctrl-C during a run
reporting  results -> JSON
"""

from adadsr.batch.jobs import Job, Jobs, find_jobs
from adadsr.batch.reporting import as_json, prepare_json, write_json
from adadsr.batch.running import Measured, Options, Result, Run, Status, check_target, dry_run, measure, run, settled

__all__ = [
    "Job",
    "Jobs",
    "Measured",
    "Options",
    "Result",
    "Run",
    "Status",
    "as_json",
    "check_target",
    "dry_run",
    "find_jobs",
    "measure",
    "prepare_json",
    "run",
    "settled",
    "write_json",
]
