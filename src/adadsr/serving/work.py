"""What runs in a thread: an image read, planned, run and encoded, until it is cancelled."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from adadsr import images
from adadsr.formats import Format
from adadsr.images import Color, Picture
from adadsr.serving.demand import LEAST_GAINS, Demand
from adadsr.serving.metrics import Metrics
from adadsr.upscaler import Chain, ChainPlan, PreparedChain, Target, Upscaled


class Cancelled(Exception):
    """Nobody waits for the result any more."""


class Cancel:
    """Ends work at its next step. Threads share it. progress: called with the fraction that is done."""

    def __init__(self, progress: Callable[[float], None] = lambda share: None) -> None:
        self._event, self._progress = threading.Event(), progress

    def set(self) -> None:
        """Cancel."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether it was cancelled."""
        return self._event.is_set()

    def check(self, share: float = 0.0) -> None:
        """Raise Cancelled if it is cancelled; otherwise pass the progress on."""
        if self._event.is_set():
            raise Cancelled
        self._progress(share)


@dataclass(frozen=True)
class Terms:
    """What a request wants of an image, and how far it may be lowered.

    Attributes:
        chain: The networks.
        target: As the request names it.
        demand: What pictures of its first network want.
        least_gain: Blocks that gain less, in squared levels, do not run.
        floor: Budget below which it is not lowered.
    """

    chain: Chain
    target: Target
    demand: Demand
    least_gain: float = 0.0
    floor: float = 1.0


class Encoded(NamedTuple):
    """A result as a file. warnings: what was lost."""

    content: bytes
    upscaled: Upscaled
    warnings: tuple[str, ...]


def read(content: bytes, max_pixels: int, background: Color | None, metrics: Metrics) -> Picture:
    """Decode an upload. Raises ImageFileError."""
    with metrics.stage("read"):
        picture = images.read_image(content, max_pixels=max_pixels)
        return picture if background is None else images.flatten(picture, background)


def prepare(chain: Chain, picture: Picture, metrics: Metrics, cancel: Cancel) -> PreparedChain:
    """A picture, ready to be planned. Raises AdaDSRError and Cancelled."""
    cancel.check()
    with metrics.stage("prepare"):
        return chain.prepare(picture)


def plan(prepared: PreparedChain, terms: Terms, metrics: Metrics) -> ChainPlan:
    """The plan of a request, lowered as far as the terms say. Head and adapter run once. Raises InputError."""
    with metrics.stage("plan"):
        wanted = prepared.plan(**vars(terms.target))
        if terms.least_gain == 0 or not prepared.outlook.steps[0].is_adaptive:
            return wanted
        curve = prepared.curve(LEAST_GAINS)
        if curve is None:  # the network cannot tell: as deep as others
            affordable = terms.demand.budget(prepared.outlook.steps[0], terms.least_gain)
        else:
            terms.demand.learn(curve.shares)
            affordable = prepared.plan(least_gain=terms.least_gain).first.budget
        budget = min(1.0, max(affordable, terms.floor, prepared.least_budget))
        return replace(prepared.plan(budget=budget), target=terms.target) if budget < wanted.first.budget else wanted


def run(prepared: PreparedChain, terms: Terms, metrics: Metrics, cancel: Cancel) -> Upscaled:
    """Upscale. Raises AdaDSRError and Cancelled."""
    wanted = plan(prepared, terms, metrics)
    cancel.check()
    with metrics.stage("run"):
        return prepared.run(wanted, progress=cancel.check)


def encode(upscaled: Upscaled, target: Format, quality: int | None, metrics: Metrics, cancel: Cancel) -> Encoded:
    """The result as a file. Raises ImageFileError."""
    cancel.check(1.0)
    picture = upscaled.picture
    assert picture is not None
    with metrics.stage("encode"):
        content = images.encode(picture, target.suffixes[0], quality=quality)
    return Encoded(content, upscaled, (*picture.notes, *images.losses(f"x{target.suffixes[0]}", picture)))
