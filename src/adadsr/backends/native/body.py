"""One run of a body over a batch: the positions at which each conv runs, and the algorithm.

Features lie in canvases, channels innermost (native/src/canvas.h). Convs run at 4x4 tiles by Winograd's F(4x4, 3x3) or
at single pixels directly. With one depth per tile, the active tiles are the list. With one depth per pixel, a tile runs
whole if it has enough active pixels for that to be cheaper; otherwise its active pixels run alone.
"""

import math
from typing import NamedTuple

import numpy as np

from adadsr.backends.engine import DepthMap, Means, Progress, Revise
from adadsr.backends.native import _native
from adadsr.backends.native.packing import PackedBlock, PackedBody, PackedConv, PackedGroup
from adadsr.backends.native.wavefront import advance, band_of
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Needs, Size, read_and_added_by, read_by
from adadsr.graph.depth import dilate


def body_needs(body: PackedBody, size: tuple[int, int, int], threads: int, *, has_map: bool) -> Needs:
    """Canvases for z, the hidden features, an update, a group's input, and the result; lists.

    size: batch, height, width. has_map: whether there is a depth map. Canvases that this body does not need have
    minimum size. Hidden features that only convs in bfloat16 read are held in nothing else; otherwise the result takes
    their place.
    """
    batch, height, width = size
    tiles = batch * -(-height // TILE) * -(-width // TILE)
    positions = batch * -(-height // body.side) * -(-width // body.side)
    nothing, features = Size(1, 1, 1, body.channels), Size(*size, body.channels)
    z = hidden = features._replace(precision=read_and_added_by(body.conv.tiles))
    has_pixels = has_map and body.side == 1
    if not has_pixels:
        hidden = features._replace(precision=read_by(body.conv.tiles))
    sums = _native.attention_bytes(batch, body.channels, positions) if body.attends else 0
    return Needs(
        canvases=(
            z,
            hidden,
            features if body.attends else nothing,
            z if body.closes else nothing,
            features if hidden.precision == "bfloat16" else nothing,
        ),
        positions=(tiles, tiles, positions),
        depths=(positions, positions if body.side == 1 else 0),
        scratch=max(sums, body.conv.tiles.scratch_bytes(threads)),
    )


class _Step(NamedTuple):
    """One conv of a block at tiles. number: index of the block."""

    block: PackedBlock
    number: int
    second: bool


class BodyRun:
    """The convs of one run in order, and a count of their multiply-accumulates.

    Inactive pixels of a tile that runs whole do not count, since the price of a mask must not depend on the machine.
    """

    def __init__(
        self,
        body: PackedBody,
        canvases: list[Lease],
        lists: Lists,
        threads: int,
        break_even: float,
        progress: Progress,
        revise: Revise | None = None,
        means: Means | None = None,
    ) -> None:
        """canvases, lists: as in `body_needs`. break_even: number of active pixels above which a tile runs whole.

        revise: asked only where positions are tiles, and blocks are one group. means: see `Engine.body`.
        """
        self.body, self.threads, self.break_even = body, threads, break_even
        self.progress, self.revise = progress, revise if len(body.groups) == 1 else None
        self.z, self.hidden, self.update, self.start, result = canvases
        # Blocks no longer need hidden features by then.
        self.result = self.hidden if self.hidden.images.dtype == np.float32 else result
        # The last: tiles that drop out, or with one depth per pixel, pixels that run alone.
        self.everywhere, self.tiles, self.dropped_or_alone = lists.positions
        self.nowhere = _native.Positions()
        self.depths, self.reach = lists.depths
        self.scratch = lists.scratch
        self.macs, self.blocks, self.blocks_done = 0, sum(len(group.blocks) for group in body.groups), 0
        self.means_given = means is not None
        batch, channels = self.z.images.shape[0], body.channels
        self.means = np.zeros((self.blocks, batch, channels), np.float32) if means is None else means
        self.earlier_blocks = 0

    def run(self, z0: Lease, depth_map: DepthMap | None) -> Lease:
        """z0: not changed. depth_map: (N, G, h, w), None for full depth. Returns the features after the body."""
        self.batch, self.height, self.width, _ = z0.images.shape
        self.everywhere.span(0, self.z.canvas.tiles)
        self.z.canvas.copy_from(z0.images, self.threads)
        for index, group in enumerate(self.body.groups):
            depths = None if depth_map is None else depth_map[:, index]
            if group.conv is not None:
                self.start.canvas.copy_from(self.z.images, self.threads)
            self._run_blocks(group, depths)
            self.earlier_blocks += len(group.blocks)
            if group.conv is None:
                continue
            self._dense_conv(group.conv, self.z.canvas, self.start.canvas, plus=self.start.canvas)
            self.z, self.start = self.start, self.z
        self._dense_conv(self.body.conv, self.z.canvas, self.result.canvas, plus=z0.canvas)
        return self.result

    def _run_blocks(self, group: PackedGroup, depth_map: DepthMap | None) -> None:
        """Run the blocks of a group on z, in place. depth_map: (N, h, w), None for full depth."""
        if depth_map is not None and self.body.side == 1:
            self._pixel_blocks(group, depth_map)
        else:
            self._tile_blocks(group, depth_map)

    def _dense_conv(self, conv: PackedConv, source: _native.Canvas, out: _native.Canvas, plus: _native.Canvas) -> None:
        """out = conv(source) + plus at every pixel."""
        self._conv_tiles(conv, source, out, self.everywhere, plus=plus)
        self._count(conv, source.pixels)

    def _tile_blocks(self, group: PackedGroup, depth_map: DepthMap | None) -> None:
        """Run both convs of a block at its active tiles; elsewhere the hidden features are zero.

        Unless blocks need means over the whole image, all blocks advance together (`wavefront`).
        """
        steps = self._tile_steps(group, depth_map)
        depths = None if depth_map is None else self.depths
        size = self.z.canvas
        rows, columns = self.batch * -(-self.height // TILE), -(-self.width // TILE)
        waits = any(block.attention is not None for block in group.blocks)
        done, ran = [0] * len(steps), [0] * len(steps)

        def run_step(index: int, low: int, high: int) -> None:
            ran[index] += self._run_step(steps[index], depths, low * columns, high * columns)
            done[index] = high
            if steps[index].second:
                share = sum(done) / (rows * len(steps))
                self.progress((self.blocks_done + len(group.blocks) * share) / self.blocks)
                if depths is not None and self.revise is not None:
                    revised = self.revise(done[::2])
                    if revised is not None:
                        depths.copy_from(revised)

        advance(len(steps), rows, rows if waits else band_of(rows, size.bytes), run_step)
        self.blocks_done += len(group.blocks)
        for step, tiles in zip(steps, ran, strict=True):
            conv = step.block.conv2 if step.second else step.block.conv1
            self._count(conv, size.pixels if tiles == size.tiles else tiles * TILE**2)

    def _tile_steps(self, group: PackedGroup, depth_map: DepthMap | None) -> list[_Step]:
        """The convs of a group that run at all, in order. Copies the map into the lists."""
        running = len(group.blocks)
        if depth_map is not None:
            self.depths.copy_from(np.ascontiguousarray(depth_map))
            if self.revise is None:
                running = math.ceil(min(max(float(depth_map.max()), 0), running))
        blocks = enumerate(group.blocks[:running])
        return [_Step(block, number, second) for number, block in blocks for second in (False, True)]

    def _run_step(self, step: _Step, depths: _native.Depths | None, low: int, high: int) -> int:
        """Run one conv at its tiles in `low` .. `high` - 1. Returns their number."""
        number, tiles, dropped = step.number, self.tiles, self.dropped_or_alone
        if depths is None:
            tiles.span(low, high)
        else:
            _native.select_between(depths, number, math.inf, low, high, tiles, self.threads)
        if step.second:
            self._second_conv(step.block, tiles, self.nowhere, depths, number)
            return len(tiles)
        if depths is not None:
            # Tiles where earlier blocks ran but this one does not.
            before = number - 1 if number else -math.inf
            _native.select_between(depths, before, number, low, high, dropped, self.threads)
            _native.clear_tiles(self.hidden.canvas, dropped, self.threads)
        self._conv_tiles(step.block.conv1, self.z.canvas, self.hidden.canvas, tiles, relu=True)
        return len(tiles)

    def _pixel_blocks(self, group: PackedGroup, depth_map: DepthMap) -> None:
        """Run the second conv of a block at its active pixels, and the first one also around them."""
        tiles, pixels, depths, reach = self.tiles, self.dropped_or_alone, self.depths, self.reach
        depths.copy_from(np.ascontiguousarray(depth_map))
        reach.copy_from(np.ascontiguousarray(dilate(depth_map)))
        # A tile that runs whole reads pixels that no conv writes; their features count as zero.
        _native.clear_tiles(self.hidden.canvas, self.everywhere, self.threads)
        for number, block in enumerate(group.blocks):
            active = _native.select_pixels(reach, number, self.break_even, tiles, pixels, self.threads)
            if not active:
                return
            self._conv_tiles(block.conv1, self.z.canvas, self.hidden.canvas, tiles, relu=True)
            assert block.conv1.pixels is not None
            _native.conv_pixels(block.conv1.pixels, self.z.canvas, self.hidden.canvas, pixels, self.threads, relu=True)
            active += _native.select_pixels(depths, number, self.break_even, tiles, pixels, self.threads)
            self._second_conv(block, tiles, pixels, depths, number)
            self._count(block.conv1, active)
            self.blocks_done += 1
            self.progress(self.blocks_done / self.blocks)

    def _second_conv(
        self,
        block: PackedBlock,
        tiles: _native.Positions,
        pixels: _native.Positions,
        depths: _native.Depths | None,
        number: int,
    ) -> None:
        """z += attention(gate * conv2(hidden)) at tiles and pixels. depths: None for a gate of 1."""
        threads = self.threads
        out, plus = (self.z.canvas, self.z.canvas) if block.attention is None else (self.update.canvas, None)
        hidden, level = self.hidden.canvas, float(number)
        self._conv_tiles(block.conv2, hidden, out, tiles, depths=depths, block=level, plus=plus)
        if len(pixels):
            assert block.conv2.pixels is not None
            _native.conv_pixels(block.conv2.pixels, hidden, out, pixels, threads, depths=depths, block=level, plus=plus)
        if block.attention is not None:
            means = self.means[self.earlier_blocks + number]
            z, update, scratch = self.z.canvas, self.update.canvas, self.scratch
            _native.attend(
                block.attention, z, update, tiles, pixels, scratch, threads, means=means, given=self.means_given
            )
            self.macs += self.batch * block.attention.macs

    def _conv_tiles(
        self,
        conv: PackedConv,
        source: _native.Canvas,
        out: _native.Canvas,
        tiles: _native.Positions,
        *,
        relu: bool = False,
        depths: _native.Depths | None = None,
        block: float = 0.0,
        plus: _native.Canvas | None = None,
    ) -> None:
        scratch, threads = self.scratch, self.threads
        _native.conv_tiles(
            conv.tiles, source, out, tiles, scratch, threads, relu=relu, depths=depths, block=block, plus=plus
        )

    def _count(self, conv: PackedConv, positions: int) -> None:
        self.macs += positions * conv.macs
