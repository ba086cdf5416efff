"""Forward and backward passes of residual bodies whose weights change, for training; see `gradients`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.attention_gradients import Attention, AttentionPass
from adadsr.backends.native.gradients import USED_UP, Conv, Convs, Floats
from adadsr.backends.native.workspaces import TILE
from adadsr.graph.depth import dilate


class _Step(NamedTuple):
    """What the backward pass needs of a block. tiles: where it ran. update: what it adds, before attention if any."""

    source: _native.Canvas
    hidden: _native.Canvas
    tiles: _native.Positions
    update: _native.Canvas | None = None
    attention: AttentionPass | None = None

    @property
    def inner(self) -> list[_native.Canvas]:
        """All canvases but the source."""
        return [canvas for canvas in (self.hidden, self.update) if canvas is not None]


class BodyGradients(NamedTuple):
    """Of z0, the depth map, the convs in order, and the attention of every block, if there is any."""

    z0: Floats
    depth_map: Floats | None
    weights: list[Conv]
    attentions: list[Attention]


class BodyPass:
    """One pass through residual blocks and a closing conv, conv(blocks(z0)) + z0, and once back.

    A block is x + attention(gate * conv2(relu(conv1(x)))), see `graph.ResidualBlock`. With exits, the closing conv
    follows several numbers of blocks, one pass for all; `features` holds the results one after the other.
    """

    def __init__(
        self,
        convs: Convs,
        weights: list[Conv],
        z0: Floats,
        depth_map: Floats | None = None,
        depth_tile: int = 1,
        exits: tuple[int, ...] | None = None,
        attentions: Sequence[Attention] = (),
    ) -> None:
        """weights: of two convs per block and the closing one. z0: (N, H, W, C). depth_map: (N, h, w), in blocks.

        exits: different numbers of blocks; the largest is that of `weights`. By default only that one. attentions: of
        every block, or of none.
        """
        self.convs, self.weights, self.depth_map, self.depth_tile = convs, weights, depth_map, depth_tile
        self.attentions = attentions
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
        passive = None if active is None else _listed(~active)
        if passive is not None:
            _native.clear_tiles(hidden, passive, self.convs.threads)
        conv1, conv2 = self.weights[2 * block : 2 * block + 2]
        self.convs.run(conv1, source, hidden, tiles, relu=True)
        if self.attentions:
            update = self.convs.canvas(self.size)
            if passive is not None:
                _native.clear_tiles(update, passive, self.convs.threads)
            self.convs.run(conv2, hidden, update, tiles, depths=self.depths, block=block)
            attention = AttentionPass(self.attentions[block], update.view())
            attention.add(source.view(), out.view())
            out.round(self.convs.threads)
            self.steps.append(_Step(source, hidden, tiles, update, attention))
            return out
        if passive is not None:
            _native.copy_tiles(source, out, passive, self.convs.threads)
        self.convs.run(conv2, hidden, out, tiles, depths=self.depths, block=block, plus=source)
        self.steps.append(_Step(source, hidden, tiles))
        return out

    def _active(self, block: int) -> npt.NDArray[np.bool_] | None:
        """Tiles that a block runs at, (N, h, w); None for all. With depths of pixels nothing masks hidden features."""
        return None if self.depth_map is None or self.depth_tile == 1 else self.depth_map > block

    def backward(self, gradient: Floats, *, to_depths: bool = True) -> BodyGradients:
        """From the gradient of `features`. To be called once. to_depths: whether the depth map's is wanted."""
        convs, z, moving = self.convs, self._take_z(), self.convs.canvas(self.size)
        closing = self._close(len(self.steps), z, gradient, moving, None)
        by_depth = None if self.depth_map is None or not to_depths else np.zeros(self.depth_map.shape, np.float32)
        convs.give_back(z)
        found: list[Conv] = []
        by_attentions: list[Attention] = []
        while self.steps:
            block, step = len(self.steps) - 1, self.steps.pop()
            update = moving
            if step.attention is not None:
                update = convs.canvas(self.size)
                by_attentions.insert(0, step.attention.backward(moving.view(), update.view()))
                update.round(convs.threads)
            found += self._backward(block, step, moving, update, by_depth)
            if block in self.exits:
                closing = self._close(block, step.source, gradient, moving, closing)
            convs.give_back(step.source)
        by_z0 = moving.view() + gradient.reshape(-1, *self.size).sum(axis=0)
        convs.give_back(moving)
        return BodyGradients(by_z0, by_depth, [*found[::-1], closing], by_attentions)

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
            self.convs.give_back(step.source, *step.inner)
        self.convs.give_back(self._take_z())

    def _take_z(self) -> _native.Canvas:
        z, self.z = self.z, None
        if z is None:
            raise RuntimeError(USED_UP)
        return z

    def _backward(
        self, block: int, step: _Step, moving: _native.Canvas, update: _native.Canvas, by_depth: Floats | None
    ) -> list[Conv]:
        """Turn `moving`, the gradient of a block's output, into that of its input. Returns those of conv2 and conv1.

        update: the gradient of the block's update before attention; `moving` itself without attention. Gives all memory
        of the step back but its source.
        """
        convs, (conv1, conv2) = self.convs, self.weights[2 * block : 2 * block + 2]
        inner, active, reached = convs.canvas(self.size), self._active(block), self.everywhere
        if by_depth is not None:
            self._add_depth_gradient(block, step, update, inner, by_depth)
        if self.depths is not None:
            gated = convs.canvas(self.size) if update is moving else update
            _native.multiply_gate(update, self.depths, block, gated, convs.threads)
            update = gated
        if active is not None and self.depth_map is not None:
            _native.clear_tiles(inner, _listed(~active), convs.threads)
            reached = _listed(dilate(self.depth_map) > block)
        by_conv2 = convs.weight_gradient(step.hidden, update, step.tiles)
        convs.input_gradient(conv2, update, inner, step.tiles, passed=step.hidden)
        by_conv1 = convs.weight_gradient(step.source, inner, step.tiles)
        convs.input_gradient(conv1, inner, moving, reached, plus=moving)
        convs.give_back(inner, *step.inner, *([update] if update is not moving else []))
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
