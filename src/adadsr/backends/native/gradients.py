"""Forward and backward passes of convs whose weights change, for training. numpy in, numpy out.

Features are (N, H, W, C) outside and canvases inside. Both passes are convs at lists of 4x4 tiles by Winograd's
F(4x4, 3x3): the gradient of a conv's input is the conv of the output's gradient with flipped and transposed weights,
and the gradient of its weights is a sum of products in the transformed domain (native/src/gradient.h).
"""

from collections import defaultdict
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.workspaces import TILE, Size
from adadsr.graph.depth import dilate

Floats: TypeAlias = npt.NDArray[np.float32]
USED_UP = "the gradients of this pass were already computed; run the forward pass again"


class Conv(NamedTuple):
    """Weight (out, 3, 3, in) and bias (out,) of a 3x3 conv, or their gradients; contiguous."""

    weight: Floats
    bias: Floats


class Convs:
    """Runs convs and their gradients in memory that is reused. Not for several threads at the same time."""

    def __init__(self, isa: str, threads: int) -> None:
        self.isa, self.threads = isa, threads
        self._scratch = _native.Scratch()
        self._packed: dict[tuple[int, int], _native.TileWeights] = {}
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


class _Step(NamedTuple):
    """What the backward pass needs of a block. tiles: where it ran."""

    source: _native.Canvas
    hidden: _native.Canvas
    tiles: _native.Positions


class BodyPass:
    """One pass through residual blocks and a closing conv, conv(blocks(z0)) + z0, and once back.

    A block is x + gate * conv2(relu(conv1(x))), as `graph.ResidualBlock` without attention. With exits, the closing
    conv follows several numbers of blocks, one pass for all; `features` holds the results one after the other.
    """

    def __init__(
        self,
        convs: Convs,
        weights: list[Conv],
        z0: Floats,
        depth_map: Floats | None = None,
        depth_tile: int = 1,
        exits: tuple[int, ...] | None = None,
    ) -> None:
        """weights: of two convs per block and the closing one. z0: (N, H, W, C). depth_map: (N, h, w), in blocks.

        exits: different numbers of blocks; the largest is that of `weights`. By default only that one.
        """
        self.convs, self.weights, self.depth_map, self.depth_tile = convs, weights, depth_map, depth_tile
        n_blocks = len(weights) // 2
        self.exits = exits or (n_blocks,)
        assert max(self.exits) == n_blocks
        batch, height, width, channels = z0.shape
        self.size = (batch, height, width, channels)
        self.depths = None if depth_map is None else _native.Depths(np.ascontiguousarray(depth_map))
        start = convs.filled(z0)
        self.everywhere = _native.Positions.all(start.tiles)
        self.steps: list[_Step] = []
        z, closed = start, convs.canvas(self.size)
        self.features: Floats = np.empty((len(self.exits) * batch, height, width, channels), np.float32)
        for depth in range(n_blocks + 1):
            if depth in self.exits:
                convs.run(weights[-1], z, closed, self.everywhere, plus=start)
                self._of_exit(self.features, depth)[:] = closed.view()
            if depth < n_blocks:
                z = self._forward(depth, z)
        self.z: _native.Canvas | None = z
        convs.give_back(closed)

    def _of_exit(self, images: Floats, depth: int) -> Floats:
        """The part of features, or of their gradient, that belongs to an exit; a view."""
        start = self.exits.index(depth) * self.size[0]
        return images[start : start + self.size[0]]

    def _forward(self, block: int, source: _native.Canvas) -> _native.Canvas:
        hidden, out = self.convs.canvas(self.size), self.convs.canvas(self.size)
        active = self._active(block)
        tiles = self.everywhere if active is None else _listed(active)
        if active is not None:
            _native.clear_tiles(hidden, _listed(~active), self.convs.threads)
        if self.depths is not None:
            out.copy_from(source.view(), self.convs.threads)
        conv1, conv2 = self.weights[2 * block : 2 * block + 2]
        self.convs.run(conv1, source, hidden, tiles, relu=True)
        self.convs.run(conv2, hidden, out, tiles, depths=self.depths, block=block, plus=source)
        self.steps.append(_Step(source, hidden, tiles))
        return out

    def _active(self, block: int) -> npt.NDArray[np.bool_] | None:
        """Tiles that a block runs at, (N, h, w); None for all. With depths of pixels nothing masks hidden features."""
        return None if self.depth_map is None or self.depth_tile == 1 else self.depth_map > block

    def backward(self, gradient: Floats) -> tuple[Floats, Floats | None, list[Conv]]:
        """From the gradient of `features` to those of z0, the depth map and the weights. To be called once."""
        z, moving = self._take_z(), self.convs.canvas(self.size)
        closing = self._close(len(self.steps), z, gradient, moving, None)
        by_depth = None if self.depth_map is None else np.zeros(self.depth_map.shape, np.float32)
        self.convs.give_back(z)
        found: list[Conv] = []
        while self.steps:
            block, step = len(self.steps) - 1, self.steps.pop()
            found += self._backward(block, step, moving, by_depth)
            if block in self.exits:
                closing = self._close(block, step.source, gradient, moving, closing)
            self.convs.give_back(step.source)
        by_z0 = moving.view() + gradient.reshape(-1, *self.size).sum(axis=0)
        self.convs.give_back(moving)
        return by_z0, by_depth, [*found[::-1], closing]

    def _close(
        self, depth: int, z: _native.Canvas, gradient: Floats, moving: _native.Canvas, others: Conv | None
    ) -> Conv:
        """Backward through the closing conv of an exit, which read z: adds to `moving`, the gradient of z.

        others: gradients of the conv by deeper exits; None at the deepest, before which `moving` holds nothing.
        Returns the conv's gradients by all exits so far.
        """
        end = self.convs.filled(self._of_exit(gradient, depth))
        found = self.convs.weight_gradient(z, end, self.everywhere)
        plus = None if others is None else moving
        self.convs.input_gradient(self.weights[-1], end, moving, self.everywhere, plus=plus)
        self.convs.give_back(end)
        return found if others is None else Conv(found.weight + others.weight, found.bias + others.bias)

    def discard(self) -> None:
        """Give the memory back in place of a backward pass."""
        while self.steps:
            step = self.steps.pop()
            self.convs.give_back(step.source, step.hidden)
        self.convs.give_back(self._take_z())

    def _take_z(self) -> _native.Canvas:
        z, self.z = self.z, None
        if z is None:
            raise RuntimeError(USED_UP)
        return z

    def _backward(self, block: int, step: _Step, moving: _native.Canvas, by_depth: Floats | None) -> list[Conv]:
        """Turn `moving`, the gradient of a block's output, into that of its input. Returns those of conv2 and conv1.

        Gives all memory of the step back but its source.
        """
        convs, (conv1, conv2) = self.convs, self.weights[2 * block : 2 * block + 2]
        update, inner = moving, convs.canvas(self.size)
        active = self._active(block)
        reached = self.everywhere
        if self.depths is not None and by_depth is not None:
            self._add_depth_gradient(block, step, moving, inner, by_depth)
            update = convs.canvas(self.size)
            _native.multiply_gate(moving, self.depths, block, update, convs.threads)
        if active is not None and self.depth_map is not None:
            _native.clear_tiles(inner, _listed(~active), convs.threads)
            reached = _listed(dilate(self.depth_map) > block)
        by_conv2 = convs.weight_gradient(step.hidden, update, step.tiles)
        convs.input_gradient(conv2, update, inner, step.tiles, passed=step.hidden)
        by_conv1 = convs.weight_gradient(step.source, inner, step.tiles)
        convs.input_gradient(conv1, inner, moving, reached, plus=moving)
        convs.give_back(step.hidden, inner, *([update] if update is not moving else []))
        return [by_conv2, by_conv1]

    def _add_depth_gradient(
        self, block: int, step: _Step, gradient: _native.Canvas, update: _native.Canvas, by_depth: Floats
    ) -> None:
        """The gate moves with the depth where it is not clipped: there its gradient is the sum of update * gradient.

        update: room for the block's update, which is computed again at the few tiles that need it.
        """
        assert self.depth_map is not None
        moves = (self.depth_map - block >= 0) & (self.depth_map - block <= 1)
        if not moves.any():
            return
        tiles = _listed(moves if self.depth_tile == TILE else _any_pixel(moves))
        self.convs.run(self.weights[2 * block + 1], step.hidden, update, tiles)
        by_gate = np.zeros((*moves.shape, 1), np.float32)
        _native.gate_gradient(update, gradient, tiles, by_gate, self.convs.threads)
        by_depth += by_gate[..., 0] * moves


def _listed(mask: npt.NDArray[np.bool_]) -> _native.Positions:
    return _native.Positions(np.flatnonzero(mask).astype(np.int32))


def _any_pixel(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tiles (N, h, w) with any pixel of a mask (N, H, W)."""
    batch, height, width = mask.shape
    padded = np.pad(mask, ((0, 0), (0, -height % TILE), (0, -width % TILE)))
    tiles = padded.reshape(batch, padded.shape[1] // TILE, TILE, padded.shape[2] // TILE, TILE)
    return np.asarray(tiles.any((2, 4)))
