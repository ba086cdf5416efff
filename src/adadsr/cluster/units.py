"""Inputs -> units of work. A unit is what an actor takes at once, and what is done again if that actor is lost."""

import heapq
from collections.abc import Sequence

SHARES = 8
"""Units that each worker would get of what is left, if all were as large as the next one."""
FINEST = 400
"""Units that each worker would get if all were as small as the last ones; finer ones cost more than they even out."""
MOST_INPUTS = 64
"""Of a unit, so that a lost worker loses little; more in collections of over a million."""
MOST_UNITS = 20_000
"""About as many as a collection is cut into at most, unless workers are many."""
OPENING_BYTES = 30_000
"""What opening an input costs, in bytes of one that is larger."""


def cost_of(size: int) -> float:
    """A guess at the relative cost of an input that was not opened, from the size of its file."""
    return float(size + OPENING_BYTES)


def cut(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Indices of the inputs of each unit, in the order in which units should start.

    Expensive inputs come first, and units shrink towards the end: each costs at most a share of what is left, as in
    guided self-scheduling, so that all workers end at about the same time. An expensive input is a unit of its own.
    """
    order = sorted(range(len(costs)), key=lambda index: -costs[index])
    most = max(MOST_INPUTS, -(-len(costs) // MOST_UNITS))
    left, units = sum(costs), []
    at, least = 0, left / (FINEST * workers)
    while at < len(order):
        share, unit, spent = max(left / (SHARES * workers), least), [order[at]], costs[order[at]]
        at += 1
        while at < len(order) and len(unit) < most and spent + costs[order[at]] <= share:
            unit.append(order[at])
            spent += costs[order[at]]
            at += 1
        units.append(unit)
        left -= spent
    return units


def makespan(costs: Sequence[float], workers: int) -> float:
    """When the last of some workers of equal speed ends that take units in this order."""
    ends = [0.0] * workers
    for cost in costs:
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)
