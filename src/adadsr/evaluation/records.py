"""What is measured: figures of an image, figures of a data set combined from them, and the log of finished images."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from adadsr import metrics
from adadsr.errors import InputError
from adadsr.evaluation.benchmark import Pixels
from adadsr.upscaler import Target


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


SUM = {"combine": math.fsum}
MEAN = {"combine": _mean}
COUNT = {"combine": sum}
"""How `combine` combines a figure over images or runs: metadata of a field."""


@dataclass(frozen=True)
class Quality:
    """How close SR is to HR.

    psnr_y, psnr_rgb: in dB; None if infinite because SR equals HR. ssim_y: in [-1, 1].
    """

    psnr_y: float | None = field(metadata=MEAN)
    ssim_y: float = field(metadata=MEAN)
    psnr_rgb: float | None = field(metadata=MEAN)


@dataclass(frozen=True)
class Effort:
    """What SR took. Baselines have only a time; the paper's script counts only networks of the paper.

    seconds: from the decoded LR image to the decoded SR image, as a call for this image alone would take.
    gmacs, dense_gmacs: 10^9 multiply-accumulates that ran, and of the full network. mean_depth: blocks per position.
    predicted_loss: dB of PSNR that the adapter predicts to lose against full depth.
    paper_gflops, paper_dense_gflops, paper_depth: see `paper_cost.PaperCost`. overflows: runs that left the range of a
    half-precision type, so that float32 gave their result.
    """

    seconds: float = field(metadata=SUM)
    gmacs: float | None = field(default=None, metadata=SUM)
    dense_gmacs: float | None = field(default=None, metadata=SUM)
    mean_depth: float | None = field(default=None, metadata=MEAN)
    predicted_loss: float | None = field(default=None, metadata=MEAN)
    paper_gflops: float | None = field(default=None, metadata=SUM)
    paper_dense_gflops: float | None = field(default=None, metadata=SUM)
    paper_depth: float | None = field(default=None, metadata=MEAN)
    overflows: int = field(default=0, metadata=COUNT)

    @property
    def budget(self) -> float | None:
        """The executed share of the dense network's multiply-accumulates; None for a baseline."""
        return None if self.gmacs is None or self.dense_gmacs is None else self.gmacs / self.dense_gmacs


Figures = TypeVar("Figures", Quality, Effort)


def combine(several: Sequence[Figures]) -> Figures:
    """The figures of several images, or of several runs of one image: sums and means, as each field says.

    A figure that is None for one of them is None for all.
    """

    def combined(name: str, how: Any) -> Any:
        values = [getattr(each, name) for each in several]
        return None if None in values else how(values)

    kind = type(several[0])
    return kind(*(combined(each.name, each.metadata["combine"]) for each in fields(kind)))


@dataclass(frozen=True, eq=False)
class Result:
    """One upscaled image.

    sr: uint8 RGB (s*h, s*w, 3). luma: uint8 Y (s*h, s*w) of SR and HR, if a baseline has its own rule.
    depth_map: (G, h, w), in blocks; None for a baseline.
    """

    sr: Pixels
    effort: Effort
    luma: tuple[Pixels, Pixels] | None = None
    depth_map: npt.NDArray[np.float32] | None = None

    def quality(self, hr: Pixels, scale: int) -> Quality:
        """Compare with HR, uint8 RGB of the same size: shave `scale` pixels, then Y, then PSNR and SSIM."""
        luma = self.luma or (self.sr, hr)
        return Quality(
            _finite(metrics.psnr_y(*luma, scale)),
            metrics.ssim_y(*luma, scale),
            _finite(metrics.psnr_rgb(self.sr, hr, scale)),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def target_label(target: Target) -> str:
    """A target in words, as `50%`, a budget, `depth 8` or `-0.05 dB`, a loss; nothing for full depth."""
    if target.max_loss is not None:
        return f"-{target.max_loss:.4g} dB"
    if target.budget is not None:
        return f"{100 * target.budget:.4g}%"
    return "" if target.depth is None else f"depth {target.depth:.4g}"


@dataclass(frozen=True)
class Case:
    """One model at one target on one data set."""

    model: str
    dataset: str
    scale: int
    target: Target

    @property
    def label(self) -> str:
        """Model and target, as `adaedsr-baseline-x2 50%` or `adaedsr-baseline-x2 depth 8`."""
        return f"{self.model} {target_label(self.target)}".rstrip()


@dataclass(frozen=True)
class ImageRecord:
    """One image of a case. key: a digest of everything that the figures depend on."""

    key: str
    case: Case
    image: str
    quality: Quality
    effort: Effort


@dataclass(frozen=True)
class Row:
    """A case over a whole data set: the figures of its images, combined. images: their number."""

    case: Case
    images: int
    quality: Quality
    effort: Effort

    @classmethod
    def of(cls, records: Sequence[ImageRecord]) -> "Row":
        """The row of all images of one case."""
        quality = combine([record.quality for record in records])
        return cls(records[0].case, len(records), quality, combine([record.effort for record in records]))

    def flat(self) -> dict[str, Any]:
        """The row as in results.json, without nesting."""
        case = {"model": self.case.model, "dataset": self.case.dataset, "scale": self.case.scale}
        figures = asdict(self.quality) | asdict(self.effort)
        return (
            case | asdict(self.case.target) | {"images": self.images, "achieved_budget": self.effort.budget} | figures
        )


class ImageLog:
    """`images.jsonl`: a JSON line for each finished image, for resuming. Records of other options stay, unused."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        """Open the log; fresh: start over.

        Raises InputError if the file holds something other than records, OSError if it cannot be read or written.
        """
        self._path = path
        self._records: dict[str, ImageRecord] = {}
        if fresh:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._read()
        path.open("a").close()  # a file that cannot be written is refused before the first image is measured

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # a line that was cut off when the run was interrupted
            self._path.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = _parse_record(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{self._path}, line {number}: not a record of this version ({error}); "
                    "pass --fresh or choose another --out"
                ) from error
            self._records[record.key] = record

    def get(self, key: str) -> ImageRecord | None:
        """The finished record of this key."""
        return self._records.get(key)

    def add(self, record: ImageRecord) -> None:
        """Store a record; its line is on its way to the disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record), allow_nan=False) + "\n")
        self._records[record.key] = record


def _parse_record(values: dict[str, Any]) -> ImageRecord:
    case = values["case"]
    return ImageRecord(
        values["key"],
        Case(case["model"], case["dataset"], case["scale"], Target(**case["target"])),
        values["image"],
        Quality(**values["quality"]),
        Effort(**values["effort"]),
    )
