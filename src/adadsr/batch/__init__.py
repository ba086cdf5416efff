"""Many image files: which output each gets, the run in which one bad file stops no other, and the JSON report.

planning   inputs and an output place -> jobs
running    jobs -> results, one after the other
interrupts Ctrl-C during a run
reporting  results -> JSON
"""

from adadsr.batch.planning import Job, Plan, plan
from adadsr.batch.reporting import as_json, prepare_json, write_json
from adadsr.batch.running import Measured, Options, Result, Run, Status, check_target, measure, run, settled

__all__ = [
    "Job",
    "Measured",
    "Options",
    "Plan",
    "Result",
    "Run",
    "Status",
    "as_json",
    "check_target",
    "measure",
    "plan",
    "prepare_json",
    "run",
    "settled",
    "write_json",
]
