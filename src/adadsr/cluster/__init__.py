"""Collections of images on Ray: one command from a laptop to a cluster. Needs the extra `cluster`.

order     what a run is asked for, and what each worker is told
sources   SRC -> inputs: a folder, a prefix of a bucket, or a list
units     inputs -> units of work, cut by cost
lease     one run at a time writes to a destination
ledger    what is kept beside the outputs: options, plans, manifest
manifest  rows of the manifest and their Parquet files
fetching  inputs of a unit, fetched ahead
planning  what an attempt does
tries     pictures that kill their workers
worker    what an actor does with a unit
metrics   figures of each actor for Prometheus
sharing   the first pass of a shared budget
sampling  what depth changes, measured on parts of a picture
calibration  parts of all pictures -> a factor for the gains of each
decision  sketches -> the least gain of each picture
pacing    how a run with a time limit revises that
session   Ray: this machine's or a cluster's
running   all together
outcome   how far a run is, and what became of it
reporting rows -> report
verifying outputs against the manifest

Ray Data schedules, restarts and retries; pictures never pass through its object store. Nothing here imports Ray before
it is used.
"""

from adadsr.cluster.ledger import FOLDER
from adadsr.cluster.order import Collection, Resources
from adadsr.cluster.outcome import Outcome, Progress
from adadsr.cluster.running import run
from adadsr.cluster.verifying import verify

__all__ = ["FOLDER", "Collection", "Outcome", "Progress", "Resources", "run", "verify"]
