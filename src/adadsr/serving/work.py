"""What runs in a thread: an image read, planned, run and encoded, until it is cancelled."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from adadsr import images
from adadsr.errors import BudgetError
from adadsr.formats import Format
from adadsr.images import Color, Picture
from adadsr.serving.metrics import Metrics
from adadsr.upscaler import Chain, Outlook, Plan, Prepared, Target, Upscaled


class Cancelled(Exception):
    """Nobody waits for the result any more."""


class Cancel:
    """Ends work at its next step. Threads share it. progress: called with the fraction that is done."""

    def __init__(self, progress: Callable[[float], None] = lambda share: None) -> None:
        self._event, self._progress = threading.Event(), progress

    def set(self) -> None:
        """Cancel."""
        self._event.set()

    def check(self, share: float = 0.0) -> None:
        """Raise Cancelled if it is cancelled; otherwise pass the progress on."""
        if self._event.is_set():
            raise Cancelled
        self._progress(share)


@dataclass(frozen=True)
class Order:
    """What to do with an image.

    Attributes:
        chain: The networks.
        target: As the request names it.
        factor: Share of the requested budget that is served, in [0, 1].
        floor: Budget below which it is not lowered.
    """

    chain: Chain
    target: Target = field(default_factory=Target)
    factor: float = 1.0
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


def prepare(chain: Chain, picture: Picture, metrics: Metrics, cancel: Cancel, *, score: bool = True) -> Prepared:
    """Head and adapter of the first network. Raises AdaDSRError and Cancelled."""
    cancel.check()
    with metrics.stage("prepare"):
        first = chain.steps(picture.height, picture.width)[0]
        return chain.upscaler(first).prepare(picture, score=score)


def plan(prepared: Prepared, order: Order, metrics: Metrics) -> Plan:
    """The plan of the first network, lowered by the order's factor. Raises InputError."""
    with metrics.stage("plan"):
        wanted = prepared.plan(**vars(order.target))
        lowered = lowered_budget(wanted.budget, order)
        if lowered is None or wanted.network.adapter is None:
            return wanted
        try:
            return prepared.plan(budget=lowered)
        except BudgetError as error:
            return prepared.plan(budget=min(error.least, wanted.budget)) if error.least < wanted.budget else wanted


def lowered_budget(budget: float, order: Order) -> float | None:
    """The budget that is served instead of `budget`; None if it stays."""
    lowered = max(order.factor * budget, order.floor)
    return lowered if order.factor < 1 and lowered < budget else None


def run(
    prepared: Prepared | None, picture: Picture, order: Order, outlook: Outlook, metrics: Metrics, cancel: Cancel
) -> Upscaled:
    """Upscale. prepared: for the first network, if it is kept. Raises AdaDSRError and Cancelled."""
    first = outlook.steps[0]
    is_single = len(outlook.steps) == 1 and (outlook.height, outlook.width) == (
        picture.height * first.upscaler.scale,
        picture.width * first.upscaler.scale,
    )
    if is_single:
        prepared = prepared or prepare(order.chain, picture, metrics, cancel, score=False)
        wanted = plan(prepared, order, metrics)
        cancel.check()
        with metrics.stage("run"):
            return prepared.run(wanted, progress=cancel.check)
    with metrics.stage("run"):
        return _run_chain(picture, order, cancel)


def _run_chain(picture: Picture, order: Order, cancel: Cancel) -> Upscaled:
    """Several networks; where one needs more than the lowered budget, all get it."""
    target, budget = order.target, order.target.budget
    is_share = target.depth is None and target.max_loss is None
    lowered = lowered_budget(1.0 if budget is None else budget, order) if is_share else None
    is_adaptive = order.chain.engine.network.adapter is not None
    if lowered is None or not is_adaptive:
        return order.chain(picture, **vars(target), progress=cancel.check)
    while True:
        try:
            result = order.chain(picture, budget=lowered, progress=cancel.check)
        except BudgetError as error:
            if error.least > (budget or 1.0):
                raise
            lowered = error.least
        else:
            return replace(result, report=replace(result.report, requested_budget=budget))


def encode(upscaled: Upscaled, target: Format, quality: int | None, metrics: Metrics, cancel: Cancel) -> Encoded:
    """The result as a file. Raises ImageFileError."""
    cancel.check(1.0)
    picture = upscaled.picture
    assert picture is not None
    with metrics.stage("encode"):
        content = images.encode(picture, target.suffixes[0], quality=quality)
    return Encoded(content, upscaled, (*picture.notes, *images.losses(f"x{target.suffixes[0]}", picture)))
