"""Any size: networks one after the other, then one exact antialiased reduction."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

from adadsr.backends import Engine
from adadsr.errors import InputError
from adadsr.images import Picture
from adadsr.networks import NetworkConfig
from adadsr.resize import reduce_samples
from adadsr.upscaler.memory import DEFAULT_LIMIT
from adadsr.upscaler.plan import Plan, check_budget, enough_budget
from adadsr.upscaler.report import Report, Target
from adadsr.upscaler.size import LARGEST_SCALE, Size
from adadsr.upscaler.sources import PictureSource
from adadsr.upscaler.upscaled import Upscaled
from adadsr.upscaler.upscaler import Upscaler

_EIGHT_TO_SIXTEEN_BITS = 257


def best_chain(scales: Sequence[int], before: tuple[int, int], after: tuple[int, int]) -> tuple[int, ...]:
    """Scales of the networks that lead from a size to at least another one, (height, width).

    The smallest product that is large enough, so that the reduction discards least; of equal ones the fewest networks;
    the smallest scale first, which costs least. Raises InputError if there is none.
    """
    factor = max(new / old for old, new in zip(before, after, strict=True))
    if max(scales) == 1:
        if factor > 1:
            raise InputError("the model restores images at their size, x1; pass --model with one that enlarges them")
        return (1,)
    most = math.ceil(math.log(max(factor, 2), min(scales))) + 1
    chains = [chain for number in range(1, most + 1) for chain in combinations_with_replacement(sorted(scales), number)]
    enough = [
        chain for chain in chains if all(old * math.prod(chain) >= new for old, new in zip(before, after, strict=True))
    ]
    return min(enough, key=lambda chain: (math.prod(chain), len(chain)))


@dataclass(frozen=True, eq=False)
class ChainPlan:
    """What a chain will do with one picture.

    Attributes:
        networks: A plan of each network. That of the first is exact; the others are at full depth, since their depth
            maps need the result of the network before. With a budget they cost at most that share of it.
        scales: Of the networks.
        before, after: Height and width of the picture and of the output.
        bytes: Working memory of the run, including images.
    """

    networks: tuple[Plan, ...]
    scales: tuple[int, ...]
    before: tuple[int, int]
    after: tuple[int, int]
    bytes: int

    @property
    def first(self) -> Plan:
        """Plan of the first network."""
        return self.networks[0]

    @property
    def reduced_from(self) -> tuple[int, int] | None:
        """Height and width of the last network's result, if that is reduced to the output."""
        (height, width), product = self.before, math.prod(self.scales)
        last = height * product, width * product
        return None if last == self.after else last


class Chain:
    """Networks for outputs of one `Size`. Between networks samples have 16 bits; the output is rounded once.

    Attributes:
        size: of the outputs.
        scales: of the networks.
        linear_light: whether the reduction averages light instead of sRGB samples.
    """

    def __init__(
        self, load: Callable[[int], Upscaler], scales: Sequence[int], size: Size, *, linear_light: bool = False
    ) -> None:
        """load: the upscaler of one of `scales`, called once for each that is needed."""
        self._load, self.scales, self.size, self.linear_light = load, tuple(scales), size, linear_light
        self._loaded: dict[int, Upscaler] = {}

    @classmethod
    def of(cls, upscaler: Upscaler) -> "Chain":
        """The chain of one network, at its own scale."""
        return cls(lambda scale: upscaler, [upscaler.scale], Size(scale=upscaler.scale))

    @cached_property
    def first(self) -> Upscaler:
        """A network that runs first, for what they have in common."""
        side = LARGEST_SCALE * 10
        scale = self.size.scale
        return self.upscaler(self.scales[0] if scale is None else self.steps(side, side)[0])

    @property
    def config(self) -> NetworkConfig:
        """Configuration of `first`."""
        return self.first.config

    @property
    def memory(self) -> int:
        """Limit on the working memory of a run and of the images beside it, in bytes."""
        limit = self.first.execution.memory
        return DEFAULT_LIMIT if limit is None else limit

    @property
    def engine(self) -> Engine:
        """Engine of `first`."""
        return self.first.engine

    def upscaler(self, scale: int) -> Upscaler:
        """The upscaler of a scale."""
        if scale not in self._loaded:
            self._loaded[scale] = self._load(scale)
        return self._loaded[scale]

    def steps(self, height: int, width: int) -> tuple[int, ...]:
        """Scales of the networks that an image of this size takes. Raises InputError as `Size.of`."""
        return best_chain(self.scales, (height, width), self.size.of(height, width))

    def prepare(self, picture: Picture) -> "PreparedChain":
        """Plan how each network cuts a picture; no network runs. Raises InputError as for `Upscaler` and `Size.of`."""
        return PreparedChain(self, picture)

    def __call__(
        self,
        picture: Picture,
        *,
        depth: float | None = None,
        budget: float | None = None,
        max_loss: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Upscale one picture: prepare, plan and run. See `PreparedChain`."""
        start = time.perf_counter()
        prepared = self.prepare(picture)
        result = prepared.run(prepared.plan(depth=depth, budget=budget, max_loss=max_loss), progress=progress)
        return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))


class PreparedChain:
    """A picture ready to run; made by `Chain.prepare`."""

    def __init__(self, chain: Chain, picture: Picture) -> None:
        self._chain, self._picture = chain, picture
        self._scales = chain.steps(picture.height, picture.width)
        self._after = chain.size.of(picture.height, picture.width)
        product = math.prod(self._scales)
        self._last = picture.height * product, picture.width * product
        self._is_plain = len(self._scales) == 1 and self._last == self._after
        upscalers = [chain.upscaler(scale) for scale in self._scales]
        self._first = upscalers[0].prepare(self._source(picture if self._is_plain else _deep(picture)), score=False)
        later = [
            upscaler.layout(*size, self._source(_blank(picture, *size)).held_bytes(upscaler.scale))
            for upscaler, size in zip(upscalers[1:], self._sizes()[1:], strict=True)
        ]
        self._layouts = [self._first.layout, *later]
        self._networks = [upscaler.engine.network for upscaler in upscalers]

    @property
    def bytes(self) -> int:
        """Working memory of a run, including images."""
        runs = max(layout.bytes for layout in self._layouts)
        if self._is_plain:
            return runs
        last, out = _blank(self._picture, *self._last), _blank(self._picture, *self._after)
        return max(runs, self._picture.pixels.nbytes + last.pixels.nbytes + out.pixels.nbytes)

    @property
    def least_budget(self) -> float:
        """The smallest budget that all networks can meet."""
        pairs = zip(self._networks, self._layouts, strict=True)
        return max(enough_budget(network, layout.frame) for network, layout in pairs)

    def plan(
        self, *, budget: float | None = None, depth: float | None = None, max_loss: float | None = None
    ) -> ChainPlan:
        """What a run would do and cost. Head and adapter of the first network run, unless at full depth.

        budget, depth, max_loss: as for `Prepared.plan`; they hold for each network. Raises as `Prepared.plan`.
        """
        target = Target(depth, budget, max_loss)
        if target.budget is not None and target.budget < 1:
            for network, layout in zip(self._networks, self._layouts, strict=True):
                check_budget(network, layout.frame, target.budget)
        plan = self._first.plan(**vars(target))
        plans = [plan]
        for network, layout in zip(self._networks[1:], self._layouts[1:], strict=True):
            full = Plan(network, layout, plan.target, None, scored=False)
            plans.append(full if plan.alpha is None else replace(full, alpha=full))
        before = self._picture.height, self._picture.width
        return ChainPlan(tuple(plans), self._scales, before, self._after, self.bytes)

    def run(self, plan: ChainPlan, *, progress: Callable[[float], None] = lambda share: None) -> Upscaled:
        """Run all networks and the reduction. The depth map is that of the first network.

        progress: called with the fraction that is done, in [0, 1]. Raises InputError as `Prepared.run`.
        """
        if self._is_plain:
            return self._first.run(plan.first, progress=progress)
        start, picture, target = time.perf_counter(), self._picture, plan.first.target
        work = [height * width for height, width in self._sizes()]
        results: list[Upscaled] = []
        for index, scale in enumerate(self._scales):
            done, part = sum(work[:index]) / sum(work), work[index] / sum(work)

            def within(share: float, done: float = done, part: float = part) -> None:
                progress(done + share * part)

            if results:
                before = results.pop()
                assert before.picture is not None
                prepared = self._chain.upscaler(scale).prepare(self._source(before.picture))
                step = prepared.plan(**vars(target))
                results += [replace(before, image=None, picture=None), prepared.run(step, progress=within)]
            else:
                results.append(self._first.run(plan.first, progress=within))
        large = results[-1].picture
        assert large is not None
        pixels = np.empty((*self._after, large.pixels.shape[2]), picture.pixels.dtype)
        reduce_samples(large.pixels, pixels, linear_colors=_colors(large) if self._chain.linear_light else 0)
        reduced_from = None if plan.reduced_from is None else plan.reduced_from[::-1]
        report = _combined([result.report for result in results], self._after, reduced_from)
        report = replace(report, memory_bytes=self.bytes, seconds=time.perf_counter() - start)
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        return Upscaled(flat, results[0].depth_map, report, replace(picture, pixels=pixels))

    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width of each network's input."""
        products = [math.prod(self._scales[:index]) for index in range(len(self._scales))]
        return [(self._picture.height * product, self._picture.width * product) for product in products]

    def _source(self, picture: Picture) -> PictureSource:
        """A network's input; the original stays in memory until the end."""
        return PictureSource(picture, picture, 0 if picture is self._picture else self._picture.pixels.nbytes)


def _blank(like: Picture, height: int, width: int) -> Picture:
    """A picture that only states its size, without memory of its own; 16 bits."""
    return Picture(np.broadcast_to(np.uint16(0), (height, width, like.pixels.shape[2])))


def _colors(picture: Picture) -> int:
    """Number of channels that are not alpha."""
    return 1 if picture.is_gray else 3


def _deep(picture: Picture) -> Picture:
    """The same with 16 bits."""
    if picture.bits == 16:
        return picture
    return replace(picture, pixels=picture.pixels * np.uint16(_EIGHT_TO_SIXTEEN_BITS))


def _combined(reports: Sequence[Report], size: tuple[int, ...], reduced_from: tuple[int, int] | None) -> Report:
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


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
