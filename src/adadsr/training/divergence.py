"""Spike detection: the mean loss of a progress report against a running mean of earlier reports."""

import math

SPIKE = 5.0
"""A mean loss this many times the usual one is a spike."""
SPIKE_PATCHES = 32
"""Patches over which SPIKE applies; with fewer, the threshold is higher, because single patches differ widely."""
DECAY = 0.9
"""Decay of the usual loss per report of SPIKE_PATCHES patches or more."""


def is_spike(loss: float, usual: float | None, patches: int, before: int) -> bool:
    """Whether a mean loss over some patches is a spike; before: patches of the stage that came earlier."""
    if usual is None or before < SPIKE_PATCHES:
        return False
    return loss > SPIKE * math.sqrt(max(1.0, SPIKE_PATCHES / patches)) * usual


def next_usual(usual: float | None, loss: float, patches: int, seen: int) -> float:
    """The usual loss after a report; seen: patches of the stage so far.

    A plain mean until enough patches were seen for the decay to take over.
    """
    if usual is None:
        return loss
    newest = max(1 - math.pow(DECAY, min(1.0, patches / SPIKE_PATCHES)), patches / seen)
    return usual + newest * (loss - usual)
