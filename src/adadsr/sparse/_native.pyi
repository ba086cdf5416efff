"""Convs of canvases at lists of tiles and pixels, compiled from native/src; `adadsr.sparse.native` is what uses it.

Everything raises ValueError or TypeError where sizes, channels, types or positions do not fit together.
"""

from typing import Any

class Canvas:
    """Features of some images, channels innermost, whole tiles with one pixel of zeros around them."""

    def __init__(self, batch: int, height: int, width: int, channels: int) -> None: ...
    @property
    def tiles(self) -> int:
        """Tiles of 4x4 pixels of all images; those that hang over a border count."""
    @property
    def pixels(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @staticmethod
    def bytes_of(batch: int, height: int, width: int, channels: int) -> int:
        """What `bytes` of such a canvas would be."""
    @property
    def spare(self) -> bool:
        """Whether no array of `view` exists any more."""
    def take(self, images: Any, threads: int, scale: Any = None) -> None:
        """Copy images, float32 (batch, height, width, channels) with any strides, into the canvas.

        scale: float32 (batch,), what each image is multiplied by; none is 1.
        """
    def view(self) -> Any:
        """The images as a DLPack array (batch, height, width, channels) that shares the canvas's memory."""

class Depths:
    """Depths in blocks: one for each pixel or for each tile. Not to be refilled while another thread reads it."""

    def __init__(self, map: Any = ...) -> None: ...
    @staticmethod
    def with_room(count: int) -> Depths:
        """No map, and memory for one of so many values."""
    @property
    def bytes(self) -> int: ...
    def take(self, map: Any) -> None:
        """Copy a map, float32 (batch, rows, columns), instead of what is there."""

class Positions:
    """Numbers of tiles or pixels, in raster order image by image. Not to be refilled while another thread reads it."""

    def __init__(self, numbers: Any = ...) -> None:
        """numbers: int32 (n,), rising; none gives an empty list."""
    @staticmethod
    def all(count: int) -> Positions: ...
    @staticmethod
    def with_room(count: int) -> Positions:
        """An empty list that holds so many numbers without growing."""
    def span(self, first: int, last: int) -> None:
        """first .. last - 1, instead of what is there."""
    @property
    def bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def tolist(self) -> list[int]: ...

class Scratch:
    """Memory that operations compute in; it grows to what the largest needs. One operation at a time uses it."""

    def __init__(self, bytes: int = 0) -> None:
        """bytes: what it holds from the start."""
    @property
    def bytes(self) -> int: ...

class TileWeights:
    """A 3x3 conv packed for tiles: weight (out, in, 3, 3), bias (out,), both float32; isa: one of `isas()`.

    factor: PixelShuffle(factor) follows, so that it stores into a canvas `factor` times as large.
    """

    def __init__(self, weight: Any, bias: Any, isa: str, factor: int = 1) -> None: ...
    @property
    def bytes(self) -> int: ...
    def scratch_bytes(self, threads: int) -> int:
        """What `conv_tiles` needs of a `Scratch`, however many tiles there are."""

class PixelWeights:
    """A 3x3 conv packed for pixels: as `TileWeights`."""

    def __init__(self, weight: Any, bias: Any, isa: str) -> None: ...
    @property
    def bytes(self) -> int: ...

class EnlargingWeights:
    """A 5x5 conv whose outputs PixelShuffle(factor) turns into pixels: weight (out, in, 5, 5), bias (out,), float32."""

    def __init__(self, weight: Any, bias: Any, isa: str, factor: int) -> None: ...
    @property
    def bytes(self) -> int: ...

class Attention:
    """Channel attention as float32: squeeze (R, C, 1, 1), its bias (R,), excite (C, R, 1, 1), its bias (C,); R <= C."""

    def __init__(self, squeeze: Any, squeeze_bias: Any, excite: Any, excite_bias: Any) -> None: ...
    @property
    def macs(self) -> int:
        """Multiply-accumulates for an image."""

class HeadWeights:
    """A 3x3 conv of images less their mean: weight (out, in, 3, 3), bias (out,), mean (in,), all float32."""

    def __init__(self, weight: Any, bias: Any, mean: Any, isa: str) -> None: ...
    @property
    def bytes(self) -> int: ...
    def scratch_bytes(self, width: int, threads: int) -> int:
        """What `head` needs of a `Scratch` for images of this width."""

class EmbeddingWeights:
    """A conv of whole tiles, whose stride is their side: weight (out, in, side, side), bias (out,), float32."""

    def __init__(self, weight: Any, bias: Any, isa: str) -> None: ...
    @property
    def bytes(self) -> int: ...
    def scratch_bytes(self, threads: int) -> int:
        """What `embed` needs of a `Scratch`."""

def isas() -> list[str]:
    """Instruction sets that were compiled and that this machine has, the fastest first; the last is `plain`."""

def allocations() -> int:
    """How often this process has allocated memory for features, weights, positions or depths."""

def select_between(depths: Depths, low: float, high: float, first: int, last: int, found: Positions) -> None:
    """Fill `found` with those of the positions first .. last - 1 whose depth is above `low` and at most `high`."""

def select_pixels(depths: Depths, low: float, worth: float, tiles: Positions, pixels: Positions) -> int:
    """Fill `tiles` with the tiles that have more than `worth` pixels deeper than `low`, `pixels` with such pixels
    elsewhere. Returns how many such pixels there are in all."""

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
) -> None:
    """out = clamp(depths - block, 0, 1) * relu(conv(source)) + plus at tiles; without depths the gate is 1.

    slope: with another than 1 PReLU takes the place of ReLU.

    With `plus`, which may be `out`, pixels whose gate is 0 are left as they are. What hangs over the image is not
    stored.
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
    """The same at pixels."""

def enlarge(weights: list[EnlargingWeights], source: Canvas, out: Any, top: int, bottom: int, threads: int) -> None:
    """Enlarge the rows top .. bottom - 1 of `source` into `out`, float32 (N, channels, factor * H, factor * W).

    weights: 16, for each place of a row (first, between, last, only) those for each place of a column.
    """

def clear_tiles(canvas: Canvas, tiles: Positions) -> None: ...
def sums_bytes(batch: int, channels: int, positions: int) -> int:
    """What `attend` needs of a `Scratch` for so many positions."""

def attend(
    attention: Attention,
    out: Canvas,
    update: Canvas,
    tiles: Positions,
    pixels: Positions,
    scratch: Scratch,
    threads: int,
) -> None:
    """out += attention(update) at positions; what lies elsewhere counts as zero in the means."""

def head(weights: HeadWeights, images: Any, out: Canvas, scratch: Scratch, threads: int) -> None:
    """out = conv(images - mean), images being float32 (batch, height, width, channels) with any strides."""

def embed(
    weights: EmbeddingWeights,
    source: Canvas,
    out: Canvas,
    scratch: Scratch,
    threads: int,
    *,
    slope: float = 1.0,
) -> None:
    """out = prelu(conv(source)), a pixel for each tile. Tiles over the border see its pixels again.

    slope: of PReLU, 1 for none.
    """
