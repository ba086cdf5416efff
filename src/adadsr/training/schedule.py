"""The learning rate over a stage."""

import math

from adadsr.training.recipe import Stage

STEP_AT = (0.5, 0.75, 0.875)
"""Parts of a stage after which the schedule `step` halves the rate."""
LEAST = 0.01
"""What the schedule `cosine` ends at, as a part of the peak."""


def learning_rate(stage: Stage, step: int, warmup: int) -> float:
    """The rate of a step of a stage: rises over `warmup` steps, then falls as the stage's schedule says."""
    done = step / stage.steps
    if stage.schedule == "step":
        falling = 0.5 ** sum(done >= at for at in STEP_AT)
    else:
        falling = LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * done))
    return stage.learning_rate * falling * min(1.0, (step + 1) / warmup)
