"""What depth is worth to a picture, measured on small parts of it without any HR.

A network that is trained for least squared error gives about the mean of what HR could be. So what a shallower run adds
to the squared error is about its squared difference from the full run, and both can be run. An adapter ranks the tiles
of one picture well, but pictures badly; these parts rank pictures.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.geometry import Box
from adadsr.images import Picture
from adadsr.metrics import BT601
from adadsr.upscaler import Upscaler

SIDE = 16
"""Of a part, in LR pixels."""
SHARE = 0.005
"""Of a picture's pixels that parts have."""
MOST_PARTS = 32
"""Of a picture."""


class Sample(NamedTuple):
    """What was measured of a picture.

    Attributes:
        texture: Mean squared difference of neighbours in Y, in squared levels.
        parts: Number of parts; small pictures may have none.
        change: Mean squared difference between the outputs at full depth and at the depth map, as a fraction of
            `texture`, estimated from the parts.
    """

    texture: float
    parts: int
    change: float


def sampled(upscaler: Upscaler, picture: Picture, depth_map: npt.NDArray[np.floating[Any]] | None, tile: int) -> Sample:
    """Measure parts of a picture. depth_map: (G, ceil(H/t), ceil(W/t)), in blocks; None is full depth. tile: t."""
    colors = 1 if picture.is_gray else 3
    pixels = picture.pixels[..., :colors]
    steps = _squared_steps(_luma(pixels))
    changes = []
    for box in () if depth_map is None or SIDE % tile else _parts(steps, picture):
        part = Picture(_in_16_bits(pixels[box.slices]))
        shallow = upscaler(part, depth_map=np.ascontiguousarray(box.coarse(tile).of(depth_map)))
        full = upscaler(part)
        assert shallow.picture is not None
        assert full.picture is not None
        difference = _luma(full.picture.pixels) - _luma(shallow.picture.pixels)
        changes.append(float(np.square(difference).mean() / box.of(steps).mean()))
    return Sample(float(steps.mean()), len(changes), float(np.mean(changes)) if changes else 0.0)


def _parts(steps: npt.NDArray[np.float32], picture: Picture) -> list[Box]:
    """The same boxes for the same picture, drawn in proportion to their texture, which makes `Sample.change` a mean."""
    rows, columns = (side // SIDE for side in steps.shape)
    if not rows or not columns:
        return []
    squares = steps[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
    texture = squares.sum(axis=(1, 3), dtype=np.float64).ravel()
    if not texture.any():
        return []
    random = np.random.default_rng(zlib.crc32(picture.pixels[len(steps) // 2].tobytes()))
    wanted = min(MOST_PARTS, SHARE * steps.size / SIDE**2)
    count = int(wanted) + (random.random() < wanted % 1)
    drawn = random.choice(len(texture), count, p=texture / texture.sum())
    corners = ((int(index) // columns * SIDE, int(index) % columns * SIDE) for index in drawn)
    return [Box(y, x, y + SIDE, x + SIDE) for y, x in corners]


def _luma(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Y in levels of 0..255, (H, W)."""
    scale = 255 / np.iinfo(pixels.dtype).max
    if pixels.shape[2] == 1:
        return np.asarray(pixels[..., 0].astype(np.float32) * np.float32(scale * BT601.sum()))
    return np.asarray(pixels.astype(np.float32) @ (BT601 * scale).astype(np.float32))


def _squared_steps(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Squared difference of each pixel from those above and to the left, summed."""
    squared = np.zeros_like(luma)
    squared[1:] += np.square(np.diff(luma, axis=0))
    squared[:, 1:] += np.square(np.diff(luma, axis=1))
    return squared


def _in_16_bits(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """So that the difference of outputs is not that of their rounding."""
    wide = pixels.astype(np.uint16)
    return np.ascontiguousarray(wide if pixels.dtype == np.uint16 else wide * np.uint16(257))
