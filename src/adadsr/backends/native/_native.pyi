"""Convs of canvases at lists of tiles and pixels, compiled from native/src; native/DESIGN.md explains them.

An `Array` is a numpy array or anything else on the CPU that supports DLPack. It is never converted: another type, or an
array that is not contiguous although it must be, raises TypeError. Sizes, channels and positions that do not match
raise ValueError. `threads` is the maximum number of threads, including the caller; below 1 it counts as 1. Concurrent
calls share the workers. Only `select_*`, `copy_from` and `span` change a list or a map, which must not be read
meanwhile.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

class Array(Protocol):
    """Anything that supports DLPack. Arrays that are only read may be read-only."""

    def __dlpack__(self) -> Any: ...

class Canvas:
    """Features of some images, channels innermost, in whole 4x4 tiles with a border of zeros. Starts as zeros.

    precision: float32, bfloat16, which the convs of `bf16_isa` read, or both. Only these convs, `copy_from`,
    `clear_tiles` and `copy_tiles` write bfloat16 alone. The other operations need float32, and round it if the canvas
    holds both; they raise ValueError otherwise. What is written through `view` is not rounded.
    """

    def __init__(self, batch: int, height: int, width: int, channels: int, precision: str = "float32") -> None: ...
    @property
    def tiles(self) -> int:
        """Tiles of 4x4 pixels of all images, including those that overhang a border."""
    @property
    def pixels(self) -> int:
        """Pixels of all images."""
    @property
    def bytes(self) -> int:
        """Memory of the canvas."""
    @staticmethod
    def bytes_of(batch: int, height: int, width: int, channels: int, precision: str = "float32") -> int:
        """`bytes` of such a canvas. Allocates nothing."""
    @property
    def is_unshared(self) -> bool:
        """Whether no array from `view`, nor a view of one, exists any more."""
    def copy_from(self, images: Array, threads: int, scale: Array | None = None) -> None:
        """Copy images, float32 (batch, height, width, channels) with any strides, into the canvas.

        scale: float32 (batch,), a factor for each image; 1 by default.
        """
    def round(self, threads: int) -> None:
        """Round again, after the images were written through `view`. Does nothing unless the canvas holds both."""
    def view(self) -> NDArray[Any]:
        """The images, (batch, height, width, channels), in the canvas's own memory: writable, and kept alive by it.

        In float32; uint16 with the bits of bfloat16 if the canvas holds nothing else.
        """

class Depths:
    """Depths in blocks, one per pixel or per tile."""

    def __init__(self, map: Array = ...) -> None:
        """map: as in `copy_from`; by default there is none."""
    @staticmethod
    def with_room(count: int) -> Depths:
        """No map, but memory for one of `count` values."""
    @property
    def bytes(self) -> int:
        """Memory of the map."""
    def copy_from(self, map: Array) -> None:
        """Replace the map by a copy of `map`, float32 (batch, rows, columns). Raises ValueError if a value is NaN."""

class Positions:
    """Indices of tiles or pixels in raster order, image by image. No index occurs twice."""

    def __init__(self, numbers: Array = ...) -> None:
        """numbers: int32 (n,), rising; by default there are none."""
    @staticmethod
    def all(count: int) -> Positions:
        """0 .. count - 1."""
    @staticmethod
    def with_room(count: int) -> Positions:
        """An empty list with memory for `count` numbers."""
    def span(self, first: int, last: int) -> None:
        """Replace the list by first .. last - 1."""
    @property
    def bytes(self) -> int:
        """Memory of the list."""
    def __len__(self) -> int: ...
    def tolist(self) -> list[int]: ...

class Scratch:
    """Memory in which operations compute. It grows as needed; operations that share it wait for each other."""

    def __init__(self, bytes: int = 0) -> None:
        """bytes: size at the start."""
    @property
    def bytes(self) -> int: ...

class TileWeights:
    """A 3x3 conv packed for tiles: weight (out, in, 3, 3), bias (out,), both float32; isa: one of `isas()`.

    upscale_factor: PixelShuffle of this factor follows, 1 to 4, so that `out` is that much larger than `source`.
    slopes: float32 (out,), of a PReLU that follows. Points of Winograd's transform whose weights are all zero, as where
    a kernel has only 2x2 taps, cost nothing.
    """

    def __init__(
        self, weight: Array, bias: Array, isa: str, upscale_factor: int = 1, slopes: Array | None = None
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    @property
    def is_bfloat16(self) -> bool:
        """Whether the conv multiplies in bfloat16; it reads only canvases that hold it."""
    def scratch_bytes(self, threads: int) -> int:
        """Bytes of `Scratch` that `conv_tiles` needs for any list of tiles; depends on the processor's caches."""

class PixelWeights:
    """A 3x3 conv packed for pixels: arguments as of `TileWeights`."""

    def __init__(self, weight: Array, bias: Array, isa: str) -> None: ...
    @property
    def bytes(self) -> int: ...

class UpsamplingWeights:
    """A 5x5 conv that PixelShuffle(upscale_factor) follows: weight (out, in, 5, 5), bias (out,), both float32.

    split: whether AMX may multiply it in parts, which does not pay for single pixels.
    """

    def __init__(self, weight: Array, bias: Array, isa: str, upscale_factor: int, *, split: bool = True) -> None: ...
    @property
    def bytes(self) -> int: ...

class HeadWeights:
    """A 3x3 conv of images less their mean: weight (out, in, 3, 3), bias (out,), mean (in,), all float32.

    slopes: float32 (out,), of a PReLU that follows.
    """

    def __init__(self, weight: Array, bias: Array, mean: Array, isa: str, slopes: Array | None = None) -> None: ...
    @property
    def bytes(self) -> int: ...
    def scratch_bytes(self, width: int, threads: int) -> int:
        """Bytes of `Scratch` that `head` needs for images of this width."""

class PatchWeights:
    """A conv whose stride is its side, up to 16: weight (out, in, side, side), bias (out,), both float32."""

    def __init__(self, weight: Array, bias: Array, isa: str) -> None: ...
    @property
    def bytes(self) -> int: ...
    def scratch_bytes(self, threads: int) -> int:
        """Bytes of `Scratch` that `patch_embed` needs."""

class Attention:
    """Channel attention: squeeze (R, C, 1, 1), bias (R,), excite (C, R, 1, 1), bias (C,), all float32; R <= C."""

    def __init__(self, squeeze: Array, squeeze_bias: Array, excite: Array, excite_bias: Array) -> None: ...
    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""

def isas() -> list[str]:
    """Compiled instruction sets that this machine supports, the fastest first; the last is `plain`."""

def bf16_isa() -> str | None:
    """Instruction set whose convs of tiles round their factors to bfloat16, and so their gradients; None without AMX.

    It is not among `isas()`, since its results differ.
    """

def cache_bytes(level: int) -> int:
    """Size of the data cache of a level, 1 to 3, that a core can use.

    If the system does not report it: 32 KiB, 512 KiB or 8 MiB. It affects speed and memory, not results.
    """

def allocations() -> int:
    """Number of allocations for features, weights, positions or depths in this process."""

def attention_bytes(batch: int, channels: int, positions: int) -> int:
    """Bytes of `Scratch` that `attend` needs for this number of tiles and pixels."""

def select_between(
    depths: Depths, low: float, high: float, first: int, last: int, found: Positions, threads: int
) -> None:
    """Fill `found` with the positions among first .. last - 1 whose depth is above `low` and at most `high`."""

def select_pixels(
    depths: Depths, low: float, break_even: float, tiles: Positions, pixels: Positions, threads: int
) -> int:
    """Fill `tiles` with the tiles that have more than `break_even` pixels deeper than `low`, and `pixels` with the
    pixels deeper than `low` in the other tiles, tile by tile. Returns the total number of such pixels."""

def conv_tiles(
    weights: TileWeights,
    source: Canvas,
    out: Canvas,
    tiles: Positions,
    scratch: Scratch,
    threads: int,
    *,
    relu: bool = False,
    slope: float = 1.0,
    depths: Depths | None = None,
    block: float = 0.0,
    plus: Canvas | None = None,
    passed: Canvas | None = None,
    also: Canvas | None = None,
    also_factor: float = 1.0,
    more: Sequence[Canvas] = (),
) -> None:
    """out = clamp(depths - block, 0, 1) * (relu(conv(source)) + also_factor * also) + plus at tiles.

    Without depths the gate is 1.

    slope: if not 1, that of a PReLU instead of the ReLU.
    plus: may be `out`. Where the gate is 0, `out` becomes `plus`, whatever the conv gives.
    passed: like `out`; results of the ReLU become 0 where it is not above 0, which is how a gradient passes a ReLU.
    more: canvases of the input channels after those of `source`, all of one number of channels. Each canvas but the
        last then counts with its padding to a multiple of 16. None of them may be `out`.

    Only pixels of the image are stored.
    """

def conv_pixels(
    weights: PixelWeights,
    source: Canvas,
    out: Canvas,
    pixels: Positions,
    threads: int,
    *,
    relu: bool = False,
    slope: float = 1.0,
    depths: Depths | None = None,
    block: float = 0.0,
    plus: Canvas | None = None,
) -> None:
    """As `conv_tiles`, at pixels. depths: one per pixel."""

def clear_tiles(canvas: Canvas, tiles: Positions, threads: int) -> None:
    """Set tiles to zero."""

def copy_tiles(source: Canvas, out: Canvas, tiles: Positions, threads: int) -> None:
    """Copy tiles to a canvas of the same size and channels."""

def attend(
    attention: Attention,
    out: Canvas,
    update: Canvas,
    tiles: Positions,
    pixels: Positions,
    scratch: Scratch,
    threads: int,
    *,
    means: Array | None = None,
    given: bool = False,
) -> None:
    """out += attention(update) at tiles and pixels; means over an image count all other pixels as zero.

    means: float32 (batch, channels), contiguous. They take the place of the canvas's if `given`, and receive them
    otherwise.
    Raises ValueError if a pixel lies in one of the tiles.
    """

def head(weights: HeadWeights, images: Array, out: Canvas, scratch: Scratch, threads: int) -> None:
    """out = conv(images - mean). images: float32 (batch, height, width, channels) with any strides."""

def patch_embed(
    weights: PatchWeights,
    source: Canvas,
    out: Canvas,
    scratch: Scratch,
    threads: int,
    *,
    slope: float = 1.0,
) -> None:
    """out = prelu(conv(source)), one pixel per patch. Patches that overhang the border see it repeated.

    slope: of the PReLU; 1 for none.
    """

def upsample(weights: list[UpsamplingWeights], source: Canvas, out: Array, top: int, left: int, threads: int) -> None:
    """Upsample a rectangle of `source`, from (top, left) on, into `out`.

    weights: 16, for each edge case of a row (first, inner, last, only) and, within it, of a column.
    out: float32 (batch, factor * rows, factor * columns, channels), writable, with any strides.
    """

def blank_weights(in_channels: int, out_channels: int, isa: str) -> TileWeights:
    """Weights of zero, to be replaced by `repack`."""

def repack(weights: TileWeights, weight: Array, bias: Array | None, adjoint: bool, threads: int) -> None:
    """Replace weights that have no upscale factor. weight: (out, 3, 3, in). bias: (out,), None to keep it.

    adjoint: make them those of the gradient of a conv's input, a conv of `out` to `in` channels; bias is then (in,).
    """

def weight_gradient(
    isa: str,
    source: Canvas,
    gradient: Canvas,
    tiles: Positions,
    weight: Array,
    bias: Array,
    scratch: Scratch,
    threads: int,
) -> None:
    """Gradients of a conv that read `source`, into weight (out, 3, 3, in) and bias (out,).

    gradient: of what the conv returned; counts as zero outside `tiles`. Results do not depend on the number of threads.
    """

def multiply_gate(source: Canvas, depths: Depths, block: float, out: Canvas, threads: int) -> None:
    """out = clamp(depths - block, 0, 1) * source at every pixel. out: may be `source`."""

def gate_gradient(update: Canvas, gradient: Canvas, tiles: Positions, out: Array, threads: int) -> None:
    """Add the sums of update * gradient over tiles, or over each of their pixels, to `out`.

    out: (batch, rows, columns, 1), with as many rows and columns as the canvas has tiles or pixels.
    """

def shuffle_pixels(
    source: Canvas, out: Array, top: int, left: int, factor: int, threads: int, images: Array | None = None
) -> None:
    """out = PixelShuffle(factor) of the part of `source` from (top, left) on, plus `images` upsampled to its size.

    out: float32 (batch, factor * height, factor * width, channels), writable, with any strides.
    images: float32 (batch, height, width, channels), with any strides; upsampled by nearest neighbour.
    """
