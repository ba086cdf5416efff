"""Many image files: the output of each, a run that a bad file does not stop, and the JSON report.

search     inputs -> images; what is left out
leftout    its kinds
naming     names of outputs
jobs       inputs and output path -> jobs
pipes      standard input and output as a job
results    what is asked for, and what became of each image
checking   checks of all jobs before anything runs
steps      one job: read, plan, write
animating  one animation, frame by frame
running    jobs -> results: reading, upscaling and writing overlap
interrupts Ctrl-C during a run
reporting  results -> JSON
"""

from adadsr.batch.checking import check_target, measure, settled
from adadsr.batch.jobs import Job, Jobs, Store, find_jobs, jobs_below
from adadsr.batch.leftout import LeftOut
from adadsr.batch.naming import Naming
from adadsr.batch.pipes import find_pipe, is_pipe
from adadsr.batch.reporting import as_json, as_row, prepare_json, write_json
from adadsr.batch.results import Measured, Options, Planned, Result, Run, Status, result_of
from adadsr.batch.running import dry_run, run
from adadsr.batch.search import Found, Search, is_pattern
from adadsr.batch.steps import Outcome, attempt

__all__ = [
    "Found",
    "Job",
    "Jobs",
    "LeftOut",
    "Measured",
    "Naming",
    "Options",
    "Outcome",
    "Planned",
    "Result",
    "Run",
    "Search",
    "Status",
    "Store",
    "as_json",
    "as_row",
    "attempt",
    "check_target",
    "dry_run",
    "find_jobs",
    "find_pipe",
    "is_pattern",
    "is_pipe",
    "jobs_below",
    "measure",
    "prepare_json",
    "result_of",
    "run",
    "settled",
    "write_json",
]
