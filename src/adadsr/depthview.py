"""A depth map as a colour picture with a scale, to be looked at."""

from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.images import Picture, picture_from_array

COLORS = "viridis"
"""Ordered by lightness, so it reads the same for colour-blind eyes and in gray: dark stops early, bright goes deep."""
LARGEST_SIDE = 1600
SMALLEST_SIDE = 800
"""Longest side of the map in the picture: large maps are averaged, small ones enlarged by whole factors."""
_DPI = 100
_MARGIN = 24
_BAR_WIDTH = 640
_BAR_HEIGHT = 18
_FOOT = 88  # pixels below the map: the bar, its ticks and its label


def draw(depth_map: npt.NDArray[np.float32], n_resblocks: int) -> Picture:
    """Draw the residual blocks that run at each LR pixel, with the shape of the image and a scale below.

    depth_map: (G, H, W), blocks of each group, in 0..n_resblocks, as `Upscaled.depth_map`. Groups are added up: the
    scale reaches from 0 to G * n_resblocks, always, so that pictures of different images can be compared.
    Returns an RGB picture. Raises InputError for another shape, NaN, inf, or values outside that range.
    """
    if depth_map.ndim != 3 or 0 in depth_map.shape:
        raise InputError(f"a depth map of shape {depth_map.shape} was given; (groups, height, width) is allowed")
    # Written so that NaN fails too; the slack is for depths that were calibrated in float32.
    if not (depth_map.min() >= -1e-3 and depth_map.max() <= n_resblocks + 1e-3):
        raise InputError(f"the depth map holds values outside 0..{n_resblocks}, the blocks of the network")
    groups = depth_map.shape[0]
    depths: npt.NDArray[np.float32] = depth_map.sum(0, dtype=np.float32)
    blocks = groups * n_resblocks
    where = f" in all {groups} groups" if groups > 1 else ""
    label = f"residual blocks run at each pixel{where} (mean {depths.mean(dtype=np.float64):.1f} of {blocks})"
    return picture_from_array(_compose(_fit(depths) / blocks, blocks, label))


def _fit(depths: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The map (H, W) at a size to look at: averaged over whole squares, or each position repeated."""
    longest = max(depths.shape)
    if longest <= LARGEST_SIDE:
        factor = max(1, SMALLEST_SIDE // longest)
        return depths.repeat(factor, 0).repeat(factor, 1)
    square = -(-longest // LARGEST_SIDE)
    height, width = (-(-side // square) for side in depths.shape)
    padded = np.pad(depths, ((0, height * square - depths.shape[0]), (0, width * square - depths.shape[1])), "edge")
    averaged: npt.NDArray[np.float32] = padded.reshape(height, square, width, square).mean((1, 3))
    return averaged


def _compose(shares: npt.NDArray[np.float32], blocks: int, label: str) -> npt.NDArray[np.uint8]:
    """The map (H, W) in 0..1 above its scale of `blocks`, on white: (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(shares.shape[1], _BAR_WIDTH) + 2 * _MARGIN
    height = shares.shape[0] + _MARGIN + _FOOT
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    _draw_scale(figure, width, height, blocks, label)
    canvas.draw()
    picture: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    # Placed sample by sample: drawing it through axes would blur the borders of the positions.
    left = (picture.shape[1] - shares.shape[1]) // 2
    picture[_MARGIN : _MARGIN + shares.shape[0], left : left + shares.shape[1]] = _colors(shares)
    return picture


def _colors(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    from matplotlib import colormaps

    table = (colormaps[COLORS](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
    colors: npt.NDArray[np.uint8] = table[(shares * 255).round().clip(0, 255).astype(np.uint8)]
    return colors


def _draw_scale(figure: Any, width: int, height: int, blocks: int, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import FixedLocator

    left, bottom = (width - _BAR_WIDTH) / 2 / width, (_FOOT - _MARGIN / 2 - _BAR_HEIGHT) / height
    axes = figure.add_axes((left, bottom, _BAR_WIDTH / width, _BAR_HEIGHT / height))
    colors = ScalarMappable(Normalize(0, blocks), COLORS)
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal", ticks=FixedLocator(_ticks(blocks)))
    bar.ax.tick_params(labelsize=11)
    bar.outline.set_linewidth(0.5)
    bar.set_label(label, fontsize=12)


def _ticks(blocks: int) -> list[int]:
    """Whole numbers from 0 to `blocks`, both included, at most nine."""
    step = next(step for step in (1, 2, 4, 5, 10, 20, 25, 50, 100, blocks) if blocks / step <= 8)
    inner = [tick for tick in range(0, blocks, step) if blocks - tick > step / 2]
    return [*inner, blocks]
