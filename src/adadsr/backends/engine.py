"""The protocol of an engine: one network prepared on one backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.graph import Array, NetworkWeights

Progress: TypeAlias = Callable[[float], None]
"""Called with the fraction of the work that is done, in [0, 1]."""
DepthMap: TypeAlias = npt.NDArray[np.float32]
Means: TypeAlias = npt.NDArray[np.float32]
"""Mean of each channel over an image, with which channel attention weights it: (blocks of all groups, N, C)."""
Revise: TypeAlias = Callable[[Sequence[int]], DepthMap | None]
"""Asked for another depth map, (G, h, w), while a body runs; None keeps the present one. Receives in how many rows of
tiles each block has begun. The new map keeps these blocks, and adds none to tiles that have dropped out before."""
BAND_PIXELS = 2**16
"""Approximate number of LR pixels whose SR pixels are made at once."""
BAND_STEP = 4
"""The number of rows of a band is a multiple of this."""


def no_progress(share: float) -> None:
    """Ignore progress."""


def band_rows(width: int) -> int:
    """LR rows per call of `Engine.tail`, for windows of `width` columns."""
    return max(BAND_STEP, BAND_PIXELS // width // BAND_STEP * BAND_STEP)


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a batch of images, opaque to callers: only the engine that made them reads them.

    data: (N, H, W, C), in the engine's own form. image: the LR images, if the tail needs them. macs: multiply-
    accumulates executed by the body's convs, 0 before the body; `graph.body_macs` predicts the number. means: that the
    body's attention used, as `Means` or as a tensor on the device; None without attention and before the body.
    """

    data: Any
    batch: int
    height: int
    width: int
    image: Any = None
    macs: int = 0
    means: Array | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """Numbers of images, rows and columns."""
        return self.batch, self.height, self.width


class Engine(Protocol):
    """One network prepared on one backend. Threads may share it. Not differentiable."""

    backend: str
    """Its key in `BACKENDS`."""
    network: NetworkWeights
    """The network, as float32 numpy arrays."""
    half: bool
    """Whether body and tail run in a 16-bit type, whose range features may exceed."""

    @property
    def variant(self) -> str:
        """What decides the last bits of a result, for reports: instruction set, thresholds, precision."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the prepared weights."""

    def features(self, lr: Array) -> Features:
        """The head. lr: (N, H, W, 3), floating point in 0..255, with any strides; may be a torch tensor.

        More channels than 3 are squares of pixels that the network sees as one; see `NetworkWeights.image_channels`.
        """

    def scores(self, z0: Features, desired_depth: float) -> npt.NDArray[np.float32]:
        """The adapter: (N, K, ceil(H/t), ceil(W/t)). desired_depth: in blocks; most adapters ignore it."""

    def body(
        self,
        z0: Features,
        depth_map: DepthMap | None = None,
        progress: Progress = no_progress,
        revise: Revise | None = None,
        means: Means | None = None,
    ) -> Features:
        """The body. depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for full depth. z0 is not changed.

        revise: asked for another map of one image during the run. Engines need not ask. means: for channel attention,
        of the image that z0 is a part of; None for those of z0. Blocks that run nowhere have 0.
        """

    def tail(self, z: Features, box: Box) -> Array:
        """SR pixels of the LR pixels in `box`, (N, s*h, s*w, 3) in 0..255, neither rounded nor clipped.

        A numpy array, or a torch tensor if the engine runs on a device. The caller may change it.
        """

    def footprint(self, height: int, width: int, batch: int = 1) -> int:
        """Bytes that a run on images of this size allocates: all parts, with the tail in bands of `band_rows`.

        Excludes weights, the LR image and whatever callers make of the tail's results.
        """

    def free_bytes(self) -> int | None:
        """Bytes of the device that a run can take; None if the engine works in the memory of the process."""


def to_numpy(array: Array) -> npt.NDArray[np.float32]:
    """A numpy array or torch tensor, on any device, as a float32 numpy array."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().float().numpy()
    return np.asarray(array, np.float32)


def as_squares(image: Array, square: int) -> Array:
    """PixelUnshuffle: (..., H, W, 3) -> (..., H / square, W / square, 3 * square^2), as `Engine.features` takes it.

    square: `NetworkWeights.square`, of which both sides have to be multiples.
    """
    if square == 1:
        return image
    *batch, height, width, channels = image.shape
    squares = image.reshape(*batch, height // square, square, width // square, square, channels)
    ordered = squares.swapaxes(-4, -3).swapaxes(-3, -1).swapaxes(-2, -1)
    return ordered.reshape(*batch, height // square, width // square, channels * square**2)


def check_lr(network: NetworkWeights, lr: Array) -> tuple[int, int, int]:
    """Batch, height and width of LR images (N, H, W, 3); raises InputError for another shape or type."""
    shape, channels = tuple(lr.shape), network.image_channels
    if len(shape) != 4 or shape[3] != channels or 0 in shape or "float" not in str(lr.dtype):
        raise InputError(f"lr has shape {shape} and type {lr.dtype}; pass floating point, (N, H, W, {channels})")
    return shape[0], shape[1], shape[2]


def check_depth_map(network: NetworkWeights, z0: Features, depth_map: DepthMap | None) -> None:
    """Raise InputError if a depth map does not fit the features."""
    if depth_map is None:
        return
    expected = (z0.batch, *network.map_shape(z0.height, z0.width))
    if tuple(depth_map.shape) != expected or depth_map.dtype != np.float32:
        raise InputError(
            f"depth_map has shape {tuple(depth_map.shape)} and type {depth_map.dtype}; pass float32, {expected}"
        )
    if not np.isfinite(depth_map).all():
        raise InputError("depth_map contains NaN or infinity; depths must be finite, in blocks")


def check_means(network: NetworkWeights, z0: Features, means: Means | None) -> None:
    """Raise InputError if means for channel attention do not fit the features."""
    if means is None:
        return
    expected = (len(network.body.blocks), z0.batch, network.channels)
    if means.shape != expected or means.dtype != np.float32 or not means.flags.c_contiguous:
        raise InputError(f"means have shape {means.shape} and type {means.dtype}; pass contiguous float32, {expected}")
