"""Any size: networks one after the other, then one exact antialiased reduction."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from adadsr.backends import Engine
from adadsr.graph.calibration import ErrorCurve
from adadsr.images import Picture
from adadsr.networks import NetworkConfig
from adadsr.resize import reduce_samples
from adadsr.upscaler import timing
from adadsr.upscaler.memory import DEFAULT_LIMIT
from adadsr.upscaler.outlook import Outlook, Step
from adadsr.upscaler.plan import ChainPlan, Plan, check_budget, enough_budget
from adadsr.upscaler.report import Target, combined
from adadsr.upscaler.reporting import as_requested
from adadsr.upscaler.size import LARGEST_SCALE, Size, best_chain
from adadsr.upscaler.sources import PictureSource, picture_bytes
from adadsr.upscaler.upscaled import Upscaled
from adadsr.upscaler.upscaler import Upscaler

DEEP_BITS = 16
"""Bits of samples between networks."""
_EIGHT_TO_SIXTEEN_BITS = 257


class Chain:
    """Networks for outputs of one `Size`. Between networks samples have 16 bits; the output is rounded once.

    Attributes:
        size: of the outputs.
        scales: of the networks.
        linear_light: whether the reduction averages light instead of sRGB samples.
    """

    def __init__(
        self,
        load: Callable[[int], Upscaler],
        scales: Sequence[int],
        size: Size,
        *,
        linear_light: bool = False,
        load_for_photos: Callable[[int], Upscaler] | None = None,
    ) -> None:
        """load: the upscaler of one of `scales`, called once for each that is needed.

        load_for_photos: likewise, of a network that removes what compression left; it runs first for pictures of a
        lossy format. None treats all pictures alike.
        """
        self._load, self.scales, self.size, self.linear_light = load, tuple(scales), size, linear_light
        self._load_for_photos = load_for_photos
        self._loaded: dict[int, Upscaler] = {}
        self._loaded_for_photos: dict[int, Upscaler] = {}

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

    @property
    def tells_photos_apart(self) -> bool:
        """Whether pictures of lossy formats take another network."""
        return self._load_for_photos is not None

    def upscaler(self, scale: int) -> Upscaler:
        """The upscaler of a scale."""
        if scale not in self._loaded:
            self._loaded[scale] = self._load(scale)
        return self._loaded[scale]

    def upscaler_for_photos(self, scale: int) -> Upscaler:
        """The upscaler of a scale for pictures of lossy formats."""
        if self._load_for_photos is None:
            return self.upscaler(scale)
        if scale not in self._loaded_for_photos:
            self._loaded_for_photos[scale] = self._load_for_photos(scale)
        return self._loaded_for_photos[scale]

    def upscalers(self, height: int, width: int, *, lossy: bool = False) -> list[Upscaler]:
        """The upscalers that an image of this size takes, one after the other.

        lossy: whether its format loses; only the first network sees what that left.
        """
        first, *later = self.steps(height, width)
        choose = self.upscaler_for_photos if lossy else self.upscaler
        return [choose(first), *(self.upscaler(scale) for scale in later)]

    def steps(self, height: int, width: int) -> tuple[int, ...]:
        """Scales of the networks that an image of this size takes. Raises InputError as `Size.of`."""
        return best_chain(self.scales, (height, width), self.size.of(height, width))

    def outlook(
        self,
        height: int,
        width: int,
        channels: int = 4,
        bits: int = 8,
        *,
        has_alpha: bool = False,
        lossy: bool = False,
    ) -> Outlook:
        """What an image of a size will take. channels, bits: at most those of the picture.

        has_alpha: whether its transparency varies. lossy: as for `upscalers`. Raises InputError if the size cannot be
        reached, or the memory limit is too small for it.
        """
        after, upscalers = self.size.of(height, width), self.upscalers(height, width, lossy=lossy)
        first = upscalers[0].scale
        is_plain = len(upscalers) == 1 and after == (height * first, width * first)
        original, depth = height * width * channels * bits // 8, bits if is_plain else DEEP_BITS
        steps: list[Step] = []
        most = 0
        for upscaler in upscalers:
            scale = upscaler.scale
            beside = 0 if not steps and depth == bits else original  # the first network may run on the original itself
            layout = upscaler.layout(height, width, beside + picture_bytes(height, width, channels, depth, scale))
            steps.append(upscaler.step(layout, has_alpha=has_alpha))
            most = max(most, layout.bytes)
            height, width = height * scale, width * scale
        if not is_plain:
            reduced = (height * width * DEEP_BITS + after[0] * after[1] * bits) // 8 * channels
            most = max(most, original + reduced)
        return Outlook(tuple(steps), *after, most)

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
        seconds: float | None = None,
        least_gain: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Upscale one picture: prepare, plan and run. See `PreparedChain`."""
        start = time.perf_counter()
        prepared = self.prepare(picture)
        plan = prepared.plan(depth=depth, budget=budget, max_loss=max_loss, seconds=seconds, least_gain=least_gain)
        result = prepared.run(plan, progress=progress)
        return replace(result, report=replace(result.report, seconds=time.perf_counter() - start))


class PreparedChain:
    """A picture ready to run; made by `Chain.prepare`."""

    def __init__(self, chain: Chain, picture: Picture) -> None:
        start = time.perf_counter()
        self._chain, self._picture = chain, picture
        self._scales = chain.steps(picture.height, picture.width)
        self._after = chain.size.of(picture.height, picture.width)
        product = math.prod(self._scales)
        last = picture.height * product, picture.width * product
        self._is_plain = len(self._scales) == 1 and last == self._after
        source = self._source(picture if self._is_plain else _deep(picture))
        lossy = picture.lossy_format is not None
        self._upscalers = chain.upscalers(picture.height, picture.width, lossy=lossy)
        self._chosen_for = picture.lossy_format if chain.tells_photos_apart else None
        self._spent = time.perf_counter() - start
        self._first = self._upscalers[0].prepare(source, score=False)
        has_alpha = self._first.outlook.steps[0].has_alpha
        size = picture.height, picture.width, picture.pixels.shape[2], picture.bits
        self.outlook = chain.outlook(*size, has_alpha=has_alpha, lossy=lossy)

    @property
    def bytes(self) -> int:
        """Working memory of a run, including images."""
        return self.outlook.bytes

    @property
    def least_budget(self) -> float:
        """The smallest budget that all networks can meet."""
        return max(enough_budget(step.engine.network, step.layout.frame) for step in self.outlook.steps)

    def score(self) -> None:
        """Run head and adapter of the first network now rather than with the first plan that needs them."""
        self._first.score()

    def curve(self, least_gains: npt.NDArray[np.float32]) -> ErrorCurve | None:
        """As of `Prepared`, for the first network."""
        return self._first.curve(least_gains)

    def plan(
        self,
        *,
        budget: float | None = None,
        depth: float | None = None,
        max_loss: float | None = None,
        seconds: float | None = None,
        least_gain: float | None = None,
    ) -> ChainPlan:
        """What a run would do and cost. Head and adapter of the first network run, unless at full depth.

        All as for `Prepared.plan`; seconds are of the whole run, the others hold for each network. Raises as
        `Prepared.plan`.
        """
        target = Target(depth, budget, max_loss, seconds, least_gain)
        spent, steps = timing.with_budget(target, self.outlook), self.outlook.steps
        if spent.budget is not None and spent.budget < 1:
            for step in steps:
                check_budget(step.engine.network, step.layout.frame, spent.budget)
        if seconds is None or spent.budget is None:
            plans = [self._first.plan(**vars(spent))]
        else:
            share = timing.shares(self.outlook, spent.budget)[0]
            plans = [self._first.within(spent.budget, share * (seconds - self._spent))]
        for step in steps[1:]:
            full = Plan(step.engine.network, step.layout, spent, None, scored=False)
            plans.append(replace(full, alpha=full) if step.has_alpha else full)
        before = self._picture.height, self._picture.width
        return ChainPlan(target, tuple(plans), self._scales, before, self._after, self.bytes, self._chosen_for)

    def run(self, plan: ChainPlan, *, progress: Callable[[float], None] = lambda share: None) -> Upscaled:
        """Run all networks and the reduction. The depth map is that of the first network.

        progress: called with the fraction that is done, in [0, 1]. Raises InputError as `Prepared.run`.
        """
        result = self._first.run(plan.first, progress=progress) if self._is_plain else self._run_all(plan, progress)
        report = replace(as_requested(result.report, plan.target), chosen_for=plan.chosen_for)
        return replace(result, report=report)

    def _run_all(self, plan: ChainPlan, progress: Callable[[float], None]) -> Upscaled:
        """All networks, each at the first one's target, and the reduction."""
        start, picture = time.perf_counter(), self._picture
        end = start + self._seconds_of_run(plan)
        work = [height * width for height, width in self._sizes()]
        results: list[Upscaled] = []
        for index in range(len(self._upscalers)):
            done, part = sum(work[:index]) / sum(work), work[index] / sum(work)

            def within(share: float, done: float = done, part: float = part) -> None:
                progress(done + share * part)

            if results:
                before = results.pop()
                results += [
                    replace(before, image=None, picture=None),
                    self._next(before, index, plan.first, end, within),
                ]
            else:
                results.append(self._first.run(plan.first, progress=within))
        large = results[-1].picture
        assert large is not None
        pixels = np.empty((*self._after, large.pixels.shape[2]), picture.pixels.dtype)
        colors = 1 if large.is_gray else 3
        reduce_samples(large.pixels, pixels, linear_colors=colors if self._chain.linear_light else 0)
        reduced_from = None if plan.reduced_from is None else plan.reduced_from[::-1]
        report = combined([result.report for result in results], self._after, reduced_from)
        report = replace(report, memory_bytes=self.bytes, seconds=time.perf_counter() - start)
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        return Upscaled(flat, results[0].depth_map, report, replace(picture, pixels=pixels))

    def _next(
        self, before: Upscaled, index: int, first: Plan, end: float, progress: Callable[[float], None]
    ) -> Upscaled:
        """The network number `index` on the result before it, as the first one ran; done by `end` if a time is kept."""
        assert before.picture is not None
        left, target = end - time.perf_counter(), first.target
        prepared = self._upscalers[index].prepare(self._source(before.picture))
        if target.budget is None or first.seconds is None:
            plan = prepared.plan(**vars(target))
        else:
            plan = prepared.within(target.budget, left * timing.shares(self.outlook, target.budget)[index])
        return prepared.run(plan, progress=progress)

    def _seconds_of_run(self, plan: ChainPlan) -> float:
        """Time for all networks after planning; infinite if none was requested."""
        first, budget, seconds = plan.first, plan.first.target.budget, plan.target.seconds
        if first.seconds is None or budget is None or seconds is None:
            return math.inf
        return first.seconds + (1 - timing.shares(self.outlook, budget)[0]) * (seconds - self._spent)

    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width of each network's input."""
        products = [math.prod(self._scales[:index]) for index in range(len(self._scales))]
        return [(self._picture.height * product, self._picture.width * product) for product in products]

    def _source(self, picture: Picture) -> PictureSource:
        """A network's input; the original stays in memory until the end."""
        return PictureSource(picture, picture, 0 if picture is self._picture else self._picture.pixels.nbytes)


def _deep(picture: Picture) -> Picture:
    """The same with 16 bits."""
    if picture.bits == 16:
        return picture
    return replace(picture, pixels=picture.pixels * np.uint16(_EIGHT_TO_SIXTEEN_BITS))
