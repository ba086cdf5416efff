"""A sheet of crops for each data set and network: LR, bicubic-rgb, SR at each target, HR, with the depth maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr import metrics
from adadsr.evaluation.baselines import bicubic_rgb
from adadsr.evaluation.benchmark import Benchmark, Pair, Pixels, Sample, load_pair
from adadsr.evaluation.figures import new_figure, styled
from adadsr.evaluation.records import Result, target_label
from adadsr.evaluation.runners import Runner
from adadsr.upscaler import Target

CROP = 48
"""Side of a crop in LR pixels."""
CELL = 1.45
"""Inches of a crop."""
MOST_TARGETS = 6
"""Maximum number of targets on a sheet; of more, an evenly spread selection is shown."""
DEPTH_COLORS = "viridis"
"""Its lightness rises with the value, so that a depth map reads the same in gray."""


class Crop(NamedTuple):
    """A square of a sample: top, left and side in LR pixels."""

    sample: Sample
    top: int
    left: int
    side: int

    def of(self, image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
        """That part of an image (H, W, ...) that is `factor` times as large as LR."""
        top, left, side = self.top * factor, self.left * factor, self.side * factor
        return image[top : top + side, left : left + side]


def draw_sheets(out: Path, benchmark: Benchmark, runners: list[Runner]) -> list[Path]:
    """Write `crops-<data set>-<model>.png` for each network; returns their paths.

    The crop is where bicubic-rgb errs most on the whole data set; that image is run once more, untimed.
    """
    networks = [runner for runner in runners if runner.engine is not None]
    if not networks:
        return []
    crop = hardest_crop(benchmark)
    pair = load_pair(crop.sample, benchmark.scale)
    files = []
    with styled():
        for runner in networks:
            targets = _spread(runner.targets, MOST_TARGETS)
            runs = list(zip(targets, runner.run(pair, targets), strict=True))
            figure = _sheet(
                crop, pair, f"{benchmark.name} {crop.sample.name}, x{benchmark.scale}, {runner.model}", runs
            )
            files.append(out / f"crops-{benchmark.name}-{runner.model.replace('/', '_')}.png")
            figure.savefig(files[-1], dpi=250)
    return files


def hardest_crop(benchmark: Benchmark) -> Crop:
    """The square of CROP LR pixels, or a whole small image, where bicubic-rgb's squared error in Y is largest."""
    best, largest = None, -1.0
    for sample in benchmark.samples:
        pair = load_pair(sample, benchmark.scale)
        side = min(CROP, sample.height, sample.width)
        error = (metrics.luma(bicubic_rgb(pair).sr) - metrics.luma(pair.hr)) ** 2
        scale = benchmark.scale
        blocks = error.reshape(sample.height, scale, sample.width, scale).mean(axis=(1, 3))
        sums = np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        mean = float(windows.max()) / side**2
        if mean > largest:
            top, left = divmod(int(windows.argmax()), windows.shape[1])
            best, largest = Crop(sample, top, left, side), mean
    assert best is not None
    return best


def _spread(targets: Sequence[Target], most: int) -> Sequence[Target]:
    if len(targets) <= most:
        return targets
    return [targets[round(index)] for index in np.linspace(0, len(targets) - 1, most)]


def _sheet(crop: Crop, pair: Pair, title: str, runs: list[tuple[Target, Result]]) -> Any:
    """Upper row: the crops. Lower row: where the crop lies, and the depth map below each SR crop."""
    columns, scale = 3 + len(runs), pair.scale
    figure = new_figure(CELL * columns + 0.5, 2 * CELL + 0.9)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = figure.subplots(2, columns)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], visible=False)
        axis.spines[:].set(visible=True, linewidth=0.5, color="0.4")
    enlarged = bicubic_rgb(pair).sr
    _show(axes[0, 0], crop.of(pair.lr, 1), "LR")
    _show(axes[0, 1], crop.of(enlarged, scale), f"bicubic-rgb\n{_psnr(enlarged, pair)}")
    _show(axes[0, -1], crop.of(pair.hr, scale), "HR")
    _show_position(axes[1, 0], crop, pair)
    for column, (target, result) in enumerate(runs, 2):
        caption = f"{target_label(target) or 'full depth'}\n{_psnr(result.sr, pair)}"
        _show(axes[0, column], crop.of(result.sr, scale), caption)
    depths = _show_depths(axes[1], crop, [result for _, result in runs])
    axes[1, -1].set(visible=True, frame_on=False)
    figure.colorbar(depths, cax=axes[1, -1].inset_axes([0.02, 0.02, 0.12, 0.96]), label="blocks run")
    figure.suptitle(f"{title}\nPercentages are budgets; PSNR-Y and mean depth are those of the whole image", fontsize=8)
    return figure


def _show_depths(axes: Any, crop: Crop, results: list[Result]) -> Any:
    """The depth maps in a row of axes, from the third on; returns what a colour bar explains."""
    maps = [(result.depth_map, result.effort.mean_depth) for result in results if result.depth_map is not None]
    look = {"cmap": DEPTH_COLORS, "vmin": 0, "vmax": max(float(depth_map.max()) for depth_map, _ in maps)}
    drawn = None
    for axis, (depth_map, mean_depth) in zip(axes[2:], maps, strict=False):
        drawn = _show(axis, crop.of(depth_map.mean(axis=0), 1), f"mean depth {mean_depth:.1f}", **look)
    return drawn


def _show(axis: Any, image: npt.NDArray[Any], title: str, **look: Any) -> Any:
    axis.set_visible(True)
    axis.set_title(title, fontsize=7)
    return axis.imshow(image, interpolation="nearest", **look)


def _show_position(axis: Any, crop: Crop, pair: Pair) -> None:
    from matplotlib.patches import Rectangle

    _show(axis, pair.hr, "position of the crop")
    corner, side = (crop.left * pair.scale, crop.top * pair.scale), crop.side * pair.scale
    axis.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="black", linewidth=2.4))
    axis.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=1))


def _psnr(sr: Pixels, pair: Pair) -> str:
    return f"{metrics.psnr_y(sr, pair.hr, pair.scale):.2f} dB"
