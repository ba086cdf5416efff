"""Any size: networks one after the other, then one exact antialiased reduction."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

from adadsr.backends import Engine
from adadsr.errors import InputError
from adadsr.images import Picture
from adadsr.networks import NetworkConfig
from adadsr.resize import reduce_samples
from adadsr.upscaler.report import Report
from adadsr.upscaler.size import LARGEST_SCALE, Size
from adadsr.upscaler.upscaler import Prepared, Upscaled, Upscaler

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


class Chain:
    """Networks for outputs of one `Size`. Between networks samples have 16 bits; the output is rounded once.

    Attributes:
        size: of the outputs.
        scales: of the networks.
    """

    def __init__(self, load: Callable[[int], Upscaler], scales: Sequence[int], size: Size) -> None:
        """load: the upscaler of one of `scales`, called once for each that is needed."""
        self._load, self.scales, self.size = load, tuple(scales), size
        self._loaded: dict[int, Upscaler] = {}

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

    def prepare(self, picture: Picture, *, score: bool = True) -> Prepared:
        """The first network's step, as of `Upscaler.prepare`."""
        return self.upscaler(self.steps(picture.height, picture.width)[0]).prepare(picture, score=score)

    def __call__(
        self,
        picture: Picture,
        *,
        depth: float | None = None,
        budget: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Upscale one picture; depth and budget hold for each network. The depth map is that of the first network.

        Raises:
            InputError: as for `Upscaler` and `Size.of`.
        """
        start = time.perf_counter()
        steps, after = self.steps(picture.height, picture.width), self.size.of(picture.height, picture.width)
        product = math.prod(steps)
        is_reduced = after != (picture.height * product, picture.width * product)
        if len(steps) == 1 and not is_reduced:
            return self.upscaler(steps[0])(picture, depth=depth, budget=budget, progress=progress)
        work = [math.prod(steps[:index]) ** 2 for index in range(len(steps))]
        current, results = _deep(picture), []
        for index, scale in enumerate(steps):
            done, part = sum(work[:index]) / sum(work), work[index] / sum(work)

            def within(share: float, done: float = done, part: float = part) -> None:
                progress(done + share * part)

            result = self.upscaler(scale)(current, depth=depth, budget=budget, progress=within)
            assert result.picture is not None
            current = result.picture
            results.append(replace(result, image=None, picture=None))
        pixels = np.empty((*after, current.pixels.shape[2]), picture.pixels.dtype)
        reduce_samples(current.pixels, pixels)
        reduced_from = (current.width, current.height) if is_reduced else None
        report = _combined([result.report for result in results], pixels.shape[:2], reduced_from)
        report = replace(report, seconds=time.perf_counter() - start)
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        return Upscaled(flat, results[0].depth_map, report, replace(picture, pixels=pixels))


def _deep(picture: Picture) -> Picture:
    """The same with 16 bits."""
    if picture.bits == 16:
        return picture
    return replace(picture, pixels=picture.pixels * np.uint16(_EIGHT_TO_SIXTEEN_BITS))


def _combined(reports: Sequence[Report], size: tuple[int, ...], reduced_from: tuple[int, int] | None) -> Report:
    """One report of all steps: costs add up, shares and depths are means weighted by cost and by pixels."""
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
        executed_gmacs=sum(report.executed_gmacs for report in reports),
        dense_gmacs=sum(dense),
        parts={part: sum(report.parts[part] for report in reports) for part in last.parts},
        tiles=sum(report.tiles for report in reports),
        exact=all(report.exact for report in reports),
        memory_bytes=max(report.memory_bytes for report in reports),
    )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
