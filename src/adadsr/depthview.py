"""A depth map as a colour picture with a scale bar."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.images import Extra, Picture, picture_from_array, read_image

__all__ = ["LARGEST_SIDE", "SMALLEST_SIDE", "draw", "is_drawn"]

LARGEST_SIDE = 1600
"""Longest side of the map in the picture, in pixels; larger maps are averaged."""
SMALLEST_SIDE = 800
"""Maps with a longest side up to half of this are repeated a whole number of times."""

Bytes = npt.NDArray[np.uint8]
Depths = npt.NDArray[np.float32]

# Every fifth colour of matplotlib's viridis. It is ordered by lightness, so it reads the same for colour-blind eyes and
# in gray: dark stops early, bright goes deep.
_VIRIDIS = (
    "440154 46085c 471063 481769 481d6f 482475 472a7a 46307e 453781 433d84 414287 3f4889 3d4e8a 3a538b 38598c 355e8d "
    "33638d 31688e 2e6d8e 2c718e 2a768e 297b8e 27808e 25848e 23898e 218e8d 20928c 1f978b 1e9c89 1fa188 21a585 24aa83 "
    "28ae80 2eb37c 35b779 3dbc74 46c06f 50c46a 5ac864 65cb5e 70cf57 7cd250 89d548 95d840 a2da37 b0dd2f bddf26 cae11f "
    "d8e219 e5e419 f1e51d fde725"
)
_FONT = Path(__file__).with_name("depthview_font.png")  # characters 32 to 126 of DejaVu Sans Mono, side by side
_FIRST, _LAST = 32, 126
_MARGIN = 24
_BAR_WIDTH = 640
_KEYWORD, _TEXT = "Software", "adadsr depth map"
_HEAD_BYTES = 4096  # of a file, with its texts
# Rows below the map
_BAR_TOP, _BAR_BOTTOM, _TICK_BOTTOM, _NUMBERS_TOP, _LABEL_TOP, _FOOT = 12, 30, 35, 37, 60, 88


def draw(depth_map: Depths, n_resblocks: int) -> Picture:
    """Draw how many residual blocks run at each LR pixel, in the shape of the image, above a scale bar.

    Args:
        depth_map: (G, H, W), blocks of each group, in 0..n_resblocks, as `Upscaled.depth_map`. Groups are summed; the
            scale always runs from 0 to G * n_resblocks, so that pictures of different images can be compared.
        n_resblocks: blocks per group.

    Returns:
        An RGB picture, with a text by which `is_drawn` recognises its PNG.

    Raises:
        InputError: another shape, NaN, infinity, or values outside 0..n_resblocks.
    """
    if depth_map.ndim != 3 or 0 in depth_map.shape:
        raise InputError(f"depth map has shape {depth_map.shape}; pass (groups, height, width)")
    # Written so that NaN fails too; the slack is for depths calibrated in float32.
    if not (depth_map.min() >= -1e-3 and depth_map.max() <= n_resblocks + 1e-3):
        raise InputError(f"depth map has values outside 0..{n_resblocks}, the number of blocks of the network")
    groups = depth_map.shape[0]
    depths: Depths = depth_map.sum(0, dtype=np.float32)
    blocks = groups * n_resblocks
    where = f", all {groups} groups" if groups > 1 else ""
    label = f"residual blocks per pixel{where} (mean {depths.mean(dtype=np.float64):.1f} of {blocks})"
    picture = picture_from_array(_compose(_colors(_fit(depths) / blocks), blocks, label))
    return replace(picture, extra=Extra(texts=((_KEYWORD, _TEXT),)))


def is_drawn(path: Path) -> bool:
    """Whether a file is a PNG from `draw`."""
    try:
        if not path.is_file():  # opening a pipe would block forever
            return False
        with path.open("rb") as file:
            return f"tEXt{_KEYWORD}\0{_TEXT}".encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def _fit(depths: Depths) -> Depths:
    """The map (H, W) at viewing size: averaged over whole squares, or with each position repeated."""
    longest = max(depths.shape)
    if longest <= LARGEST_SIDE:
        factor = max(1, SMALLEST_SIDE // longest)
        return depths.repeat(factor, 0).repeat(factor, 1)
    square = -(-longest // LARGEST_SIDE)
    height, width = (-(-side // square) for side in depths.shape)
    padded = np.pad(depths, ((0, height * square - depths.shape[0]), (0, width * square - depths.shape[1])), "edge")
    averaged: Depths = padded.reshape(height, square, width, square).mean((1, 3))
    return averaged


def _colors(shares: Depths) -> Bytes:
    """Colours (..., 3) of shares in 0..1."""
    anchors = np.frombuffer(bytes.fromhex(_VIRIDIS), np.uint8).reshape(-1, 3)
    levels, at = np.arange(256), np.linspace(0, 255, len(anchors))
    table = np.stack([np.interp(levels, at, channel) for channel in anchors.T], axis=1).round().astype(np.uint8)
    colors: Bytes = table[(shares * 255).round().clip(0, 255).astype(np.uint8)]
    return colors


def _compose(colors: Bytes, blocks: int, label: str) -> Bytes:
    """The coloured map (H, W, 3) above a scale bar up to `blocks`, on white: (height, width, 3)."""
    text = _text(label)
    width = max(colors.shape[1], _BAR_WIDTH, text.shape[1]) + 2 * _MARGIN
    foot = _MARGIN + colors.shape[0]
    canvas = np.full((foot + _FOOT, width, 3), 255, np.uint8)
    middle = width // 2
    _place(canvas, colors, _MARGIN, middle)
    bar = _colors(np.linspace(0, 1, _BAR_WIDTH, dtype=np.float32))[None].repeat(_BAR_BOTTOM - _BAR_TOP, 0)
    _place(canvas, bar, foot + _BAR_TOP, middle)
    for tick in _ticks(blocks):
        column = middle - _BAR_WIDTH // 2 + round(tick / blocks * (_BAR_WIDTH - 1))
        canvas[foot + _BAR_BOTTOM : foot + _TICK_BOTTOM, column] = 0
        _place(canvas, _text(str(tick)), foot + _NUMBERS_TOP, column)
    _place(canvas, text, foot + _LABEL_TOP, middle)
    return canvas


def _place(canvas: Bytes, part: Bytes, top: int, middle: int) -> None:
    """Copy `part` (h, w, 3 or 1) to the canvas, centred on the column `middle`."""
    left = middle - part.shape[1] // 2
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part


def _text(line: str) -> Bytes:
    """A line of ASCII in black on white: (height, width, 1)."""
    glyphs = _glyphs()
    return np.concatenate([glyphs[ord(character) - _FIRST] for character in line], axis=1)


@cache
def _glyphs() -> list[Bytes]:
    return np.split(read_image(_FONT).pixels, _LAST - _FIRST + 1, axis=1)


def _ticks(blocks: int) -> list[int]:
    """Whole numbers from 0 to `blocks`, both included, at most nine."""
    step = next(step for step in (1, 2, 4, 5, 10, 20, 25, 50, 100, blocks) if blocks / step <= 8)
    inner = [tick for tick in range(0, blocks, step) if blocks - tick > step / 2]
    return [*inner, blocks]
