"""The array operations that definitions are made of; `adadsr.tensor_ops` implements them in torch."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

Array: TypeAlias = Any
"""A numpy array or a torch tensor. Features are (N, C, H, W) in definitions."""


class Ops(Protocol):
    """Operations of one array library. Results have the type and device of the first argument unless noted."""

    def conv(self, x: Array, weight: Array, bias: Array, stride: int = 1) -> Array:
        """Convolution; zero padding preserves height and width at stride 1, other strides do not pad."""

    def relu(self, x: Array) -> Array:
        """max(x, 0)."""

    def prelu(self, x: Array, slope: Array) -> Array:
        """x if positive, otherwise slope * x; slope: (1,) for all channels or (C,)."""

    def leaky_relu(self, x: Array, slope: float) -> Array:
        """The same with one constant slope."""

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x))."""

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """(N, in) -> (N, out); weight: (out, in, 1, 1)."""

    def spatial_mean(self, x: Array) -> Array:
        """Mean of each channel over the image, (N, C), in float32 or wider."""

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Concatenate features along the channels."""

    def pixel_shuffle(self, x: Array, upscale_factor: int) -> Array:
        """(N, C * f * f, H, W) -> (N, C, f * H, f * W)."""

    def upsample(self, x: Array, upscale_factor: int) -> Array:
        """Nearest neighbour: (N, C, H, W) -> (N, C, f * H, f * W)."""

    def pad_edge(self, x: Array, bottom: int, right: int) -> Array:
        """Repeat the last row and the last column."""

    def expand_tiles(self, x: Array, tile: int, height: int, width: int) -> Array:
        """One value per tile -> one per pixel: (N, G, ceil(H/t), ceil(W/t)) -> (N, G, H, W)."""

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        """`yes` where the condition holds, otherwise `no`."""

    def per_channel(self, x: Array, values: Sequence[float]) -> Array:
        """Constants as (1, C, 1, 1), with the type and device of `x`."""

    def per_image(self, x: Array, values: Array) -> Array:
        """(N,) as (N, 1, 1, 1)."""

    def cast(self, x: Array, like: Array) -> Array:
        """`x` in the type of `like`."""
