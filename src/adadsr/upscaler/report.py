"""The target of one call, and the report of what it did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adadsr.errors import InputError
from adadsr.graph import NetworkWeights


@dataclass(frozen=True)
class Target:
    """How much of the network to run: at most one of these; none is full depth.

    depth: the paper's desired depth, 0..n_resblocks, in blocks.
    budget: fraction of the dense network's multiply-accumulates, in (0, 1].
    max_loss: PSNR in dB that the result may lose against full depth, as predicted; >= 0.
    seconds: time that the run should take on this machine, which must have been measured; > 0.
    least_gain: blocks run where they are predicted to lower the squared error in Y by at least this, in squared levels;
        >= 0. One value for many images spends where it helps most.
    """

    depth: float | None = None
    budget: float | None = None
    max_loss: float | None = None
    seconds: float | None = None
    least_gain: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            requests = " and ".join(f"{name}={value:g}" for name, value in given.items())
            raise InputError(f"{requests}: pass only one of them")
        if self.max_loss is not None and not 0 <= self.max_loss < math.inf:
            raise InputError(f"max_loss={self.max_loss:g} must be a finite number of dB, at least 0")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InputError(f"seconds={self.seconds:g} must be a finite number above 0")
        if self.least_gain is not None and not 0 <= self.least_gain < math.inf:
            raise InputError(f"least_gain={self.least_gain:g} must be a finite number of squared levels, at least 0")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise InputError(f"budget={self.budget:g} is outside (0, 1]; 1 is the full network")
        if self.depth is not None and not 0 <= self.depth < math.inf:
            raise InputError(f"depth={self.depth:g} must be a finite number of residual blocks, at least 0")

    def check(self, network: NetworkWeights, model: str = "") -> None:
        """Raise InputError if the network cannot do this. model: its name for the message; its kind if empty."""
        if self.depth is not None and self.depth > network.n_blocks:
            raise InputError(f"depth={self.depth:g} is outside 0..{network.n_blocks}, the blocks of this network")
        if self.is_full(network.n_blocks):
            return
        ((name, value),) = [(name, value) for name, value in vars(self).items() if value is not None]
        model = model or network.kind
        if network.adapter is None:
            raise InputError(
                f"{name}={value:g}: {model} has no adapter, so it runs at full depth only; drop {name}, or choose an "
                "adaptive model"
            )
        if name in ("max_loss", "least_gain") and not network.adapter.predicts_errors:
            raise InputError(
                f"{name}={value:g}: the adapter of {model} does not predict losses; pass "
                "budget instead, or choose a model with one depth per tile"
            )

    def is_full(self, n_blocks: int) -> bool:
        """Whether full depth is requested."""
        if self.seconds is not None:
            return False
        if self.max_loss is not None or self.least_gain is not None:
            return 0 in (self.max_loss, self.least_gain)
        return self.budget == 1 or (self.budget is None and (self.depth is None or self.depth == n_blocks))


@dataclass(frozen=True)
class Report:
    """One run. Sizes are (width, height) in pixels; a GMAC is 10^9 multiply-accumulates.

    Attributes:
        model: Name of the model.
        backend: Engine that ran it, a key of `backends.BACKENDS`.
        variant: What determines the last bits: instruction set, thresholds, precision.
        device: Device that ran it.
        scale: Factor of the width.
        networks: Scales of the networks that ran, one after the other.
        reduced_from: Size of the last network's result, if that was reduced to the output's.
        frames: Number of frames of an animation that ran. Costs are sums over them, depths and losses means. 1 for an
            image.
        input_size: Size of the image.
        output_size: Size of the result.
        requested_depth: Requested depth in blocks; None if not given.
        requested_budget: Requested budget, as a fraction of the dense network's cost; None if not given.
        requested_max_loss: Requested limit on the predicted loss in dB; None if not given.
        requested_precision: Requested type of body and tail.
        precision: Type that produced the result; float32 if half precision overflowed in a tile.
        achieved_budget: Cost of the depth map on the whole image with its border, as a fraction of the dense network's.
            For an image in one tile it equals executed_gmacs / dense_gmacs; the overlap of several tiles is not
            included.
        mean_depth: Mean number of blocks run at a position; a fraction counts as a fraction.
        predicted_loss: PSNR in dB that the result loses against full depth, as the adapter predicts; None if it cannot.
        border: How the image was continued beyond its border, for both costs as well; see `Execution`.
        executed_gmacs: Executed cost, counted as the network defines its convs; `parts` has it part by part.
        dense_gmacs: Cost of the full-depth network without an adapter, in the same tiles.
        parts: Executed cost of head, adapter, body and tail.
        tiles: Number of tiles; their overlap counts in executed_gmacs and dense_gmacs, and so does the first pass that
            channel attention needs.
        exact: Whether the result equals that of the whole image; False if tiles saw too little of it.
        memory_bytes: Planned working memory of the run.
        seconds: From the decoded input to the decoded output; for a plan run separately, body and tail only.
        requested_seconds: Requested time; None if not given.
        time_model: What turned it into a budget; None if not given.
        chosen_for: Lossy format of the input for which a network for photos was chosen; None if it was not.
    """

    model: str
    backend: str
    variant: str
    device: str
    scale: float
    networks: tuple[int, ...]
    reduced_from: tuple[int, int] | None
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    requested_depth: float | None
    requested_budget: float | None
    requested_max_loss: float | None
    requested_precision: str
    precision: str
    achieved_budget: float
    mean_depth: float
    predicted_loss: float | None
    border: str
    executed_gmacs: float
    dense_gmacs: float
    parts: dict[str, float]
    tiles: int
    exact: bool
    memory_bytes: int
    seconds: float
    frames: int = 1
    requested_seconds: float | None = None
    time_model: str | None = None
    chosen_for: str | None = None

    @classmethod
    def of_frames(cls, reports: Sequence["Report"]) -> "Report":
        """One report of the frames of an animation, which all have the same size."""
        first, equal = reports[0], [1.0] * len(reports)
        return replace(
            first,
            precision=first.precision if len({each.precision for each in reports}) == 1 else "float32",
            achieved_budget=_mean([each.achieved_budget for each in reports], equal),
            mean_depth=_mean([each.mean_depth for each in reports], equal),
            predicted_loss=_mean_loss([each.predicted_loss for each in reports]),
            executed_gmacs=sum(each.executed_gmacs for each in reports),
            dense_gmacs=sum(each.dense_gmacs for each in reports),
            parts={part: sum(each.parts[part] for each in reports) for part in first.parts},
            tiles=sum(each.tiles for each in reports),
            exact=all(each.exact for each in reports),
            memory_bytes=max(each.memory_bytes for each in reports),
            seconds=sum(each.seconds for each in reports),
            frames=len(reports),
        )


def combined(reports: Sequence[Report], size: tuple[int, ...], reduced_from: tuple[int, int] | None) -> Report:
    """One report of all steps: costs and losses add up, shares and depths are means weighted by cost and by pixels."""
    first, last = reports[0], reports[-1]
    dense = [report.dense_gmacs for report in reports]
    pixels = [report.input_size[0] * report.input_size[1] for report in reports]
    names = list(dict.fromkeys(report.model for report in reports))
    return replace(
        first,
        model=", ".join(names),
        scale=size[1] / first.input_size[0],
        networks=tuple(scale for report in reports for scale in report.networks),
        reduced_from=reduced_from,
        output_size=(size[1], size[0]),
        precision=first.precision if len({report.precision for report in reports}) == 1 else "float32",
        achieved_budget=_mean([report.achieved_budget for report in reports], dense),
        mean_depth=_mean([report.mean_depth for report in reports], pixels),
        predicted_loss=_total([report.predicted_loss for report in reports]),
        executed_gmacs=sum(report.executed_gmacs for report in reports),
        dense_gmacs=sum(dense),
        parts={part: sum(report.parts[part] for report in reports) for part in last.parts},
        tiles=sum(report.tiles for report in reports),
        exact=all(report.exact for report in reports),
    )


def _total(losses: Sequence[float | None]) -> float | None:
    """The sum of losses in dB, None if one is unknown."""
    known = [loss for loss in losses if loss is not None]
    return sum(known) if len(known) == len(losses) else None


def _mean_loss(losses: Sequence[float | None]) -> float | None:
    """The mean of losses in dB, None if one is unknown."""
    total = _total(losses)
    return None if total is None else total / len(losses)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
