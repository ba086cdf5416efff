"""The figures of one image and of one data set, and how the second come from the first."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from adadsr import metrics
from adadsr.evaluation.benchmark import Benchmark, Pixels, Sample
from adadsr.evaluation.runners import Result, Runner
from adadsr.upscaler.report import Target


@dataclass(frozen=True)
class ImageRecord:
    """One image by one runner. key: a digest of all that the figures depend on. Figures: see `Row`."""

    key: str
    model: str
    dataset: str
    image: str
    scale: int
    budget: float | None
    depth: float | None
    psnr_y: float | None
    ssim_y: float
    psnr_rgb: float | None
    seconds: float
    gmacs: float | None
    dense_gmacs: float | None
    mean_depth: float | None
    paper_gflops: float | None
    paper_dense_gflops: float | None
    paper_depth: float | None


@dataclass(frozen=True)
class Row:
    """One model on one data set at one depth or budget; the order of the fields is that of results.json.

    budget, depth: what was asked for, None where it was not. images: their number. psnr_y, ssim_y, psnr_rgb,
    mean_depth, paper_depth: mean over the images. gmacs (executed), dense_gmacs, seconds, paper_gflops and
    paper_dense_gflops: sum over the images. achieved_budget: gmacs / dense_gmacs. None: not defined, as the cost of a
    baseline; for PSNR also infinite, where an SR image equals its HR image.
    """

    model: str
    dataset: str
    scale: int
    budget: float | None
    depth: float | None
    achieved_budget: float | None
    mean_depth: float | None
    psnr_y: float | None
    ssim_y: float
    psnr_rgb: float | None
    gmacs: float | None
    dense_gmacs: float | None
    seconds: float
    images: int
    paper_gflops: float | None
    paper_dense_gflops: float | None
    paper_depth: float | None

    @property
    def target(self) -> Target:
        """What was asked for."""
        return Target(self.depth, self.budget)


def measure(key: str, runner: Runner, benchmark: Benchmark, sample: Sample, hr: Pixels, result: Result) -> ImageRecord:
    """The figures of one result against HR: shave `scale` pixels, then Y, then PSNR and SSIM."""
    shave, paper = benchmark.scale, result.paper
    luma = result.luma or (result.sr, hr)
    return ImageRecord(
        key=key,
        model=runner.model,
        dataset=benchmark.name,
        image=sample.name,
        scale=benchmark.scale,
        budget=runner.target.budget,
        depth=runner.target.depth,
        psnr_y=_finite(metrics.psnr_y(*luma, shave)),
        ssim_y=metrics.ssim_y(*luma, shave),
        psnr_rgb=_finite(metrics.psnr_rgb(result.sr, hr, shave)),
        seconds=result.seconds,
        gmacs=result.executed_gmacs,
        dense_gmacs=result.dense_gmacs,
        mean_depth=result.mean_depth,
        paper_gflops=None if paper is None else paper.gflops,
        paper_dense_gflops=None if paper is None else paper.dense_gflops,
        paper_depth=None if paper is None else paper.mean_depth,
    )


def summarize(records: list[ImageRecord]) -> Row:
    """The row of all images of one model, data set and target."""
    first, n = records[0], len(records)
    gmacs = _sum(record.gmacs for record in records)
    dense_gmacs = _sum(record.dense_gmacs for record in records)
    return Row(
        model=first.model,
        dataset=first.dataset,
        scale=first.scale,
        budget=first.budget,
        depth=first.depth,
        achieved_budget=None if gmacs is None or dense_gmacs is None else gmacs / dense_gmacs,
        mean_depth=_mean(record.mean_depth for record in records),
        psnr_y=_mean(record.psnr_y for record in records),
        ssim_y=math.fsum(record.ssim_y for record in records) / n,
        psnr_rgb=_mean(record.psnr_rgb for record in records),
        gmacs=gmacs,
        dense_gmacs=dense_gmacs,
        seconds=math.fsum(record.seconds for record in records),
        images=n,
        paper_gflops=_sum(record.paper_gflops for record in records),
        paper_dense_gflops=_sum(record.paper_dense_gflops for record in records),
        paper_depth=_mean(record.paper_depth for record in records),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where one of them is not defined."""
    given = list(values)
    known = [value for value in given if value is not None]
    return math.fsum(known) if len(known) == len(given) else None


def _mean(values: Iterable[float | None]) -> float | None:
    given = list(values)
    total = _sum(given)
    return None if total is None else total / len(given)
