"""Forward and backward passes of convs whose weights change, for training. numpy in, numpy out.

Features are (N, H, W, C) outside and canvases inside. Both passes are convs at lists of 4x4 tiles: the gradient of a
conv's input is the conv of the output's gradient with flipped and transposed weights. In float32 they run by Winograd's
F(4x4, 3x3), and the gradient of a conv's weights is a sum of products in the transformed domain
(native/src/gradient.h); in bfloat16 directly, in AMX (native/src/bf16_kernels.h).
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import Size, chosen_isa

Floats: TypeAlias = npt.NDArray[np.float32]
T = TypeVar("T")
USED_UP = "the gradients of this pass were already computed; run the forward pass again"


class Conv(NamedTuple):
    """Weight (out, 3, 3, in) and bias (out,) of a 3x3 conv, or their gradients; contiguous."""

    weight: Floats
    bias: Floats


def why_no_bfloat16() -> str | None:
    """Why convs cannot train in bfloat16 here; None if they can. Raises BackendError as `chosen_isa`."""
    isa = chosen_isa(None)
    return None if _native.has_bf16(isa) else f"bfloat16 needs AMX, and it runs on {isa}"


class Convs:
    """Runs convs and their gradients in memory that is reused. Not for several threads at the same time."""

    def __init__(self, isa: str, threads: int, *, bfloat16: bool = False) -> None:
        """isa: that of the kernels. bfloat16: round the factors of all products to it; sums stay float32."""
        self.isa, self.threads, self.bfloat16 = isa, threads, bfloat16
        self._scratch = _native.Scratch()
        self._packed: dict[tuple[int, int], _native.TileWeights] = {}
        self._halves: dict[tuple[int, int], _native.Bf16Weights] = {}
        self._free: dict[Size, list[_native.Canvas]] = defaultdict(list)

    def canvas(self, size: Size) -> _native.Canvas:
        """A canvas with arbitrary content inside the images; `give_back` it."""
        return self._free[size].pop() if self._free[size] else _native.Canvas(*size)

    def filled(self, images: Floats) -> _native.Canvas:
        """A canvas that holds images (N, H, W, C) with any strides; `give_back` it."""
        batch, height, width, channels = images.shape
        canvas = self.canvas((batch, height, width, channels))
        canvas.copy_from(images, self.threads)
        return canvas

    def give_back(self, *canvases: _native.Canvas) -> None:
        """Let canvases be reused; they must not be used any more."""
        for canvas in canvases:
            batch, height, width, channels = canvas.view().shape
            self._free[batch, height, width, channels].append(canvas)

    def run(
        self,
        conv: Conv,
        source: _native.Canvas,
        out: _native.Canvas,
        tiles: _native.Positions,
        *,
        relu: bool = False,
        depths: _native.Depths | None = None,
        block: int = 0,
        plus: _native.Canvas | None = None,
    ) -> None:
        """out = gate * relu(conv(source)) + plus at some tiles; see `_native.conv_tiles`."""
        run = self._packed_run(conv.weight, conv.bias, adjoint=False)
        run(source, out, tiles, self._scratch, self.threads, relu=relu, depths=depths, block=block, plus=plus)

    def input_gradient(
        self,
        conv: Conv,
        gradient: _native.Canvas,
        out: _native.Canvas,
        tiles: _native.Positions,
        *,
        passed: _native.Canvas | None = None,
        plus: _native.Canvas | None = None,
    ) -> None:
        """out = gradient of the conv's input + plus at some tiles; without plus 0 where `passed` is not above 0."""
        run = self._packed_run(conv.weight, np.zeros(conv.weight.shape[-1], np.float32), adjoint=True)
        run(gradient, out, tiles, self._scratch, self.threads, plus=plus, passed=passed)

    def weight_gradient(self, source: _native.Canvas, gradient: _native.Canvas, tiles: _native.Positions) -> Conv:
        """Gradients of the weight and bias of the conv that read `source`; `gradient` counts at some tiles only."""
        inputs, outputs = (canvas.view().shape[-1] for canvas in (source, gradient))
        found = Conv(np.empty((outputs, 3, 3, inputs), np.float32), np.empty(outputs, np.float32))
        find = _native.weight_gradient_bf16 if self.bfloat16 else _native.weight_gradient
        find(self.isa, source, gradient, tiles, *found, self._scratch, self.threads)
        return found

    def _packed_run(self, weight: Floats, bias: Floats, *, adjoint: bool) -> Callable[..., None]:
        """`_native.conv_tiles` with these weights, packed; adjoint: with those of the gradient of a conv's input.

        One set of memory serves all convs of a size, so that it stays in the cache.
        """
        outputs, _, _, inputs = weight.shape
        sizes = (outputs, inputs) if adjoint else (inputs, outputs)
        if self.bfloat16:
            half = _kept(self._halves, sizes, lambda: _native.Bf16Weights(*sizes, self.isa))
            _native.repack_bf16(half, weight, bias, adjoint)
            return partial(_native.conv_tiles_bf16, half)
        packed = _kept(self._packed, sizes, lambda: _native.blank_weights(*sizes, self.isa))
        _native.repack(packed, weight, bias, adjoint, self.threads)
        return partial(_native.conv_tiles, packed)


def _kept(known: dict[tuple[int, int], T], sizes: tuple[int, int], make: Callable[[], T]) -> T:
    """What is known for some channels; made at the first time."""
    if sizes not in known:
        known[sizes] = make()
    return known[sizes]


class ConvPass:
    """A conv, and once its gradients. features: what it returned, (N, H, W, out)."""

    def __init__(self, convs: Convs, conv: Conv, images: Floats) -> None:
        """images: (N, H, W, in) with any strides."""
        self.convs, self.conv = convs, conv
        self._source: _native.Canvas | None = convs.filled(images)
        self.everywhere = _native.Positions.all(self._source.tiles)
        out = convs.canvas((*images.shape[:3], len(conv.bias)))
        convs.run(conv, self._source, out, self.everywhere)
        self.features: Floats = out.view().copy()
        convs.give_back(out)

    def backward(self, gradient: Floats) -> tuple[Floats, Conv]:
        """From the gradient of `features` to those of the images and the conv. To be called once."""
        source = self._take_source()
        end = self.convs.filled(gradient)
        by_conv = self.convs.weight_gradient(source, end, self.everywhere)
        self.convs.input_gradient(self.conv, end, source, self.everywhere)
        by_images = source.view().copy()
        self.convs.give_back(source, end)
        return by_images, by_conv

    def discard(self) -> None:
        """Give the memory back in place of a backward pass."""
        self.convs.give_back(self._take_source())

    def _take_source(self) -> _native.Canvas:
        source, self._source = self._source, None
        if source is None:
            raise RuntimeError(USED_UP)
        return source
