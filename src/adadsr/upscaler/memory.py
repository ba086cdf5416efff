"""How large tiles may be so that a run stays within a memory limit. docs/algorithm.md has the measured factors."""

import ctypes
import sys
from typing import NamedTuple

from adadsr.errors import InputError
from adadsr.models import NetworkConfig

DEFAULT_LIMIT = 4 * 2**30
"""Bytes that a process may take where the user says nothing."""
FRUGAL_LIMIT = 11 * 2**30 // 10
"""The same where that is enough, tiles are exact and their overlap costs little."""
CHEAP_SIDE = 8
"""The overlap of tiles costs little where their side is at least so many times the context."""
PROCESS = 500 * 2**20
"""Bytes of Python, torch with its compiler and triton, libvips and the weights before any image."""
SMALLEST_SIDE = 16
"""A tile's core is at least so many LR pixels wide and high."""


class Limits(NamedTuple):
    """side: largest side of a tile's core in LR pixels. tail_pixels: LR pixels that the tail enlarges at once."""

    side: int
    tail_pixels: int


class Copies(NamedTuple):
    """Buffers that are held at the same time, at most.

    body: of the size of a window's features, in head, adapter and body. tail: of the size of the enlarged features.
    """

    body: int
    tail: int


def limits_for(config: NetworkConfig, context: int, memory: int, held: int, side: int | None, copies: Copies) -> Limits:
    """Limits within `memory` bytes of a process that already holds `held` bytes of images.

    context: LR pixels of a window around its core. side: the user's choice, None for the largest that fits.
    Raises InputError where not even the smallest tile fits.
    """
    features = config.n_feats * 4
    free = memory - PROCESS - held
    pixels = free // (copies.body * features)
    largest = int(max(0, pixels) ** 0.5) - 2 * context
    if largest < SMALLEST_SIDE:
        least = PROCESS + held + copies.body * features * (SMALLEST_SIDE + 2 * context) ** 2
        raise InputError(
            f"a memory limit of {memory / 2**20:.0f} MiB is too small for this image and network; "
            f"give at least {-(-least // 2**20)} MiB"
        )
    return Limits(min(side or largest, largest), free // (copies.tail * features * config.scale**2))


def default_limits(
    config: NetworkConfig, context: int, held: int, side: int | None, copies: Copies, *, frugal: bool
) -> Limits:
    """Limits where the user says nothing about memory: FRUGAL_LIMIT where that will do, else DEFAULT_LIMIT.

    frugal: whether the backend and the network can do with little memory. The rest: see `limits_for`.
    """
    if frugal:
        try:
            limits = limits_for(config, context, FRUGAL_LIMIT, held, None, copies)
        except InputError:
            frugal = False
        else:
            frugal = limits.side >= CHEAP_SIDE * context
    return limits_for(config, context, FRUGAL_LIMIT if frugal else DEFAULT_LIMIT, held, side, copies)


def give_back() -> None:
    """Hand freed memory back to the system. glibc keeps it, and from tile to tile the holes in it add up."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
