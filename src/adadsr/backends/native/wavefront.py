"""Convs that advance together, so that one reads from cache what the one before it has just written."""

from collections.abc import Callable

from adadsr.backends.native import _native

BAND_BYTES = min(8 * 2**20, _native.cache_bytes(3) // 2)
"""Approximate bytes of features that a conv writes before the next one reads them from cache; results do not depend on
it."""


def band_of(rows: int, size: int) -> int:
    """Rows of tiles that a conv advances at a time, of `rows` whose features take `size` bytes."""
    return max(1, BAND_BYTES * rows // size)


def advance(steps: int, rows: int, band: int, run: Callable[[int, int, int], None]) -> None:
    """Run steps over all rows of tiles, `band` rows at a time.

    A conv reads one row of tiles below those it writes. So each step stays a row behind the previous one, and whatever
    it overwrites has been read. run: receives the number of a step, and its first row and the row after its last.
    """
    done = [0] * steps
    for target in range(band, rows + band, band):
        ready = min(target, rows)
        for step in range(steps):
            run(step, done[step], ready)
            done[step] = ready
            ready = rows if ready == rows else max(0, ready - 1)
