"""How everything runs a model: prepare an image, plan a run, run it.

execution  how networks run, one object
upscaler   `Upscaler` and `Prepared`, the public interface
upscaled   the result of a run
size       the size that an output gets
outlook    what an image will take, from its size alone
timing     seconds as a budget
measuring  how long this machine takes
pacing     keeping to a time while a body runs
chain      any size: networks one after the other, then a reduction
loading    the networks that a user names
sources    what can be upscaled, and where the result goes
frame      how a picture is continued beyond its border
memory     how an image is cut to fit into memory, and the memory shared by runs
plan       what a run will do and cost
tiled_run  an LR image on an engine: scores, then body and tail, tile by tile
report     the target of a call, and the report of what it did
reporting  how a report is filled
"""

from adadsr.upscaler.chain import Chain, PreparedChain
from adadsr.upscaler.execution import Execution
from adadsr.upscaler.memory import SharedMemory
from adadsr.upscaler.outlook import Outlook, Step
from adadsr.upscaler.plan import ChainPlan, Plan
from adadsr.upscaler.report import Report, Target
from adadsr.upscaler.size import Size
from adadsr.upscaler.sources import Source
from adadsr.upscaler.upscaled import Upscaled
from adadsr.upscaler.upscaler import Prepared, Upscaler

__all__ = [
    "Chain",
    "ChainPlan",
    "Execution",
    "Outlook",
    "Plan",
    "Prepared",
    "PreparedChain",
    "Report",
    "SharedMemory",
    "Size",
    "Source",
    "Step",
    "Target",
    "Upscaled",
    "Upscaler",
]
