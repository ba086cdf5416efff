"""Which losses are spikes: means over the patches of a progress report, against a running mean of earlier ones."""

import math

SPIKE = 5.0
"""A mean loss this many times the usual one is a spike."""
JUDGED = 32
"""Patches whose mean tells a spike; fewer have to exceed more, since single patches differ by far."""
DECAY = 0.9
"""Decay of the usual loss with a report of JUDGED patches or more."""


def is_spike(loss: float, usual: float | None, patches: int, before: int) -> bool:
    """Whether a mean loss over some patches is a spike; before: patches of the stage that came earlier."""
    if usual is None or before < JUDGED:
        return False
    return loss > SPIKE * math.sqrt(max(1.0, JUDGED / patches)) * usual


def next_usual(usual: float | None, loss: float, patches: int, seen: int) -> float:
    """The usual loss after a report; seen: patches of the stage so far. A plain mean until the decay tells more."""
    if usual is None:
        return loss
    newest = max(1 - math.pow(DECAY, min(1.0, patches / JUDGED)), patches / seen)
    return usual + newest * (loss - usual)
