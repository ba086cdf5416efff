"""Forward and backward passes of convs whose weights change, for training. numpy in, numpy out.

Features are (N, H, W, C) outside and canvases inside. Both passes are convs at lists of 4x4 tiles: the gradient of a
conv's input is the conv of the output's gradient with flipped and transposed weights. In float32 they run by Winograd's
F(4x4, 3x3), and the gradient of a conv's weights is a sum of products in the transformed domain
(native/src/gradient.h); in bfloat16 both are direct sums in AMX (native/src/bf16_kernels.h).
"""

from collections import defaultdict
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import Size

Floats: TypeAlias = npt.NDArray[np.float32]
USED_UP = "the gradients of this pass were already computed; run the forward pass again"


class Conv(NamedTuple):
    """Weight (out, 3, 3, in) and bias (out,) of a 3x3 conv, or their gradients; contiguous."""

    weight: Floats
    bias: Floats


class Convs:
    """Runs convs and their gradients in memory that is reused. Not for several threads at the same time."""

    def __init__(self, isa: str, threads: int) -> None:
        """isa: `_native.bf16_isa()` rounds the factors of all products to bfloat16; sums stay float32."""
        self.isa, self.threads = isa, threads
        self._precision = "both" if isa == _native.bf16_isa() else "float32"
        self._scratch = _native.Scratch()
        self._packed: dict[tuple[int, int], _native.TileWeights] = {}
        self._free: dict[Size, list[_native.Canvas]] = defaultdict(list)

    def canvas(self, shape: tuple[int, int, int, int]) -> _native.Canvas:
        """A canvas of images (N, H, W, C) with arbitrary content; `give_back` it."""
        size = Size(*shape, self._precision)
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
            self._free[Size(batch, height, width, channels, self._precision)].append(canvas)

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
        outputs, _, _, inputs = conv.weight.shape
        packed = self._blank(inputs, outputs)
        _native.repack(packed, conv.weight, conv.bias, False, self.threads)
        _native.conv_tiles(
            packed, source, out, tiles, self._scratch, self.threads, relu=relu, depths=depths, block=block, plus=plus
        )

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
        outputs, _, _, inputs = conv.weight.shape
        packed = self._blank(outputs, inputs)
        _native.repack(packed, conv.weight, np.zeros(inputs, np.float32), True, self.threads)
        _native.conv_tiles(packed, gradient, out, tiles, self._scratch, self.threads, plus=plus, passed=passed)

    def weight_gradient(self, source: _native.Canvas, gradient: _native.Canvas, tiles: _native.Positions) -> Conv:
        """Gradients of the weight and bias of the conv that read `source`; `gradient` counts at some tiles only."""
        inputs, outputs = (canvas.view().shape[-1] for canvas in (source, gradient))
        found = Conv(np.empty((outputs, 3, 3, inputs), np.float32), np.empty(outputs, np.float32))
        _native.weight_gradient(self.isa, source, gradient, tiles, *found, self._scratch, self.threads)
        return found

    def _blank(self, inputs: int, outputs: int) -> _native.TileWeights:
        """Memory for packed weights. One set serves all convs of a size: it stays in the cache."""
        if (inputs, outputs) not in self._packed:
            self._packed[inputs, outputs] = _native.blank_weights(inputs, outputs, self.isa)
        return self._packed[inputs, outputs]


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
