"""One run of the native engine over one batch: which positions each conv runs at, and by which algorithm.

Features lie channels innermost in canvases (native/src/canvas.h). A conv of 4x4 tiles is Winograd's F(4x4, 3x3), one
of single pixels is direct. With tile masks the active tiles are the list. With pixel masks a tile runs whole where it
has enough active pixels to be cheaper so, and its active pixels run alone elsewhere.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from adadsr.sparse import _native
from adadsr.sparse.body import BodyRun
from adadsr.sparse.cost_model import tile_worth
from adadsr.sparse.depth import dilate
from adadsr.sparse.workspaces import TILE, view

if TYPE_CHECKING:
    from adadsr.sparse.native import NativeBody, PackedBlock, PackedConv, PackedGroup

BAND_BYTES = 8 * 2**20
"""Features that a conv writes, about, before the next one reads them."""


class Workspace:
    """Everything that a pass over images of one size writes to. What held the hidden features ends as the result."""

    def __init__(self, size: tuple[int, int, int], body: "NativeBody") -> None:
        """size: images of a batch, height, width."""
        self.size = size
        canvases = body.canvases(size)
        self._hidden_size = canvases[1]
        self.z, self.hidden, self.update, self.start = (_native.Canvas(*canvas) for canvas in canvases)
        self.everywhere, self.nowhere = _native.Positions.all(self.z.tiles), _native.Positions()
        places = body.places(size)
        self.tiles, self.others = (_native.Positions.with_room(count) for count in (self.z.tiles, places))
        self.depths = _native.Depths.with_room(places)
        self.reach = _native.Depths.with_room(places if body.side == 1 else 0)
        self.scratch = _native.Scratch(body.scratch_bytes(size))

    @property
    def bytes(self) -> int:
        """Size of the workspace."""
        parts = (self.z, self.hidden, self.update, self.start, self.everywhere, self.tiles, self.others, self.depths)
        return sum(part.bytes for part in (*parts, self.reach, self.scratch))

    def renew(self) -> None:
        """Get a new canvas in place of one that somebody still holds, as the result of the run before."""
        if not self.hidden.spare:
            self.hidden = _native.Canvas(*self._hidden_size)


def run_pass(
    body: "NativeBody",
    workspace: Workspace,
    z0: Tensor,
    depth_map: Tensor | None,
    progress: Callable[[float], None],
) -> BodyRun:
    """The body for z0 (N, C, H, W) and a depth map, both checked. progress: called with the share of blocks done."""
    images = z0.permute(0, 2, 3, 1)
    workspace.renew()
    workspace.z.take(images, torch.get_num_threads())
    run = _Pass(body, workspace, progress)
    for index, group in enumerate(body.groups):
        run.group(group, None if depth_map is None else depth_map[:, index])
    workspace.hidden.take(images, torch.get_num_threads())
    run.dense_conv(body.conv, workspace.z, workspace.hidden)
    return BodyRun(view(workspace.hidden).permute(0, 3, 1, 2), run.macs)


class _Step(NamedTuple):
    """One conv of a block at tiles. number: of the block."""

    block: "PackedBlock"
    number: int
    second: bool


class _Pass:
    """The convs of one pass, in order, and the count of what they computed.

    Pixels of a tile that runs whole for the sake of some of them do not count: what a mask costs must not depend on
    the machine, and budgets are priced by it.
    """

    def __init__(self, body: "NativeBody", workspace: Workspace, progress: Callable[[float], None]) -> None:
        self.side, self.workspace, self.macs = body.side, workspace, 0
        self.progress, self.blocks, self.blocks_done = progress, sum(len(group.blocks) for group in body.groups), 0
        self.batch, self.height, self.width = workspace.size
        self.threads = torch.get_num_threads()
        self.worth = tile_worth(body.channels, body.isa, self.threads) if body.side == 1 else 0.0

    def group(self, group: "PackedGroup", depth_map: Tensor | None) -> None:
        """The blocks of a group, and what closes it. depth_map: (N, h, w), None for full depth."""
        workspace = self.workspace
        if group.conv is not None:
            workspace.start.take(view(workspace.z), self.threads)
        if depth_map is not None and self.side == 1:
            self._pixel_blocks(group, depth_map)
        else:
            self._tile_blocks(group, depth_map)
        if group.conv is not None:
            self.dense_conv(group.conv, workspace.z, workspace.start)
            workspace.z, workspace.start = workspace.start, workspace.z

    def dense_conv(self, conv: "PackedConv", source: _native.Canvas, out: _native.Canvas) -> None:
        """out += conv(source) at every pixel."""
        self._conv_tiles(conv, source, out, self.workspace.everywhere, plus=out)
        self._count(conv, source.pixels)

    def _tile_blocks(self, group: "PackedGroup", depth_map: Tensor | None) -> None:
        """Both convs of a block at the tiles where its gate is open; elsewhere the hidden features are zero.

        Where no block waits for means over the whole image the blocks advance together, some rows of tiles at a time,
        so that what one writes is in cache when the next reads it. A conv looks one row further down than it stores,
        so each stays a row behind the one before, and what it overwrites has been read.
        """
        steps = self._tile_steps(group, depth_map)
        depths = None if depth_map is None else self.workspace.depths
        size = self.workspace.z
        rows, columns = self.batch * -(-self.height // TILE), -(-self.width // TILE)
        waits = any(block.attention is not None for block in group.blocks)
        band = rows if waits else max(1, BAND_BYTES * rows // size.bytes)
        done, ran = [0] * len(steps), [0] * len(steps)
        for target in range(band, rows + band, band):
            ready = min(target, rows)
            for index, step in enumerate(steps):
                ran[index] += self._run_step(step, depths, done[index] * columns, ready * columns)
                done[index] = ready
                ready = rows if ready == rows else max(0, ready - 1)
                if step.second:
                    share = sum(done) / (rows * len(steps))
                    self.progress((self.blocks_done + len(group.blocks) * share) / self.blocks)
        self.blocks_done += len(group.blocks)
        for step, tiles in zip(steps, ran, strict=True):
            conv = step.block.conv2 if step.second else step.block.conv1
            self._count(conv, size.pixels if tiles == size.tiles else tiles * TILE**2)

    def _tile_steps(self, group: "PackedGroup", depth_map: Tensor | None) -> list["_Step"]:
        """The convs of a group that run somewhere, in order. Keeps the depths in the workspace."""
        running = len(group.blocks)
        if depth_map is not None:
            self.workspace.depths.take(depth_map.contiguous())
            running = int(depth_map.amax().clamp(0, running).ceil())
        blocks = enumerate(group.blocks[:running])
        return [_Step(block, number, second) for number, block in blocks for second in (False, True)]

    def _run_step(self, step: "_Step", depths: _native.Depths | None, low: int, high: int) -> int:
        """One conv at those of its tiles that are from `low` to `high` - 1; returns how many those are."""
        workspace, number = self.workspace, step.number
        tiles, dropped = workspace.tiles, workspace.others
        if depths is None:
            tiles.span(low, high)
        else:
            _native.select_between(depths, number, math.inf, low, high, tiles)
        if step.second:
            self._second_conv(step.block, tiles, workspace.nowhere, depths, number)
            return len(tiles)
        if depths is not None:
            # Where the blocks before ran and this one does not.
            _native.select_between(depths, number - 1 if number else -math.inf, number, low, high, dropped)
            _native.clear_tiles(workspace.hidden, dropped)
        self._conv_tiles(step.block.conv1, workspace.z, workspace.hidden, tiles, relu=True)
        return len(tiles)

    def _pixel_blocks(self, group: "PackedGroup", depth_map: Tensor) -> None:
        """The second conv of a block at the pixels where its gate is open, the first one also around them."""
        workspace = self.workspace
        tiles, pixels, depths, reach = workspace.tiles, workspace.others, workspace.depths, workspace.reach
        depths.take(depth_map.contiguous())
        reach.take(dilate(depth_map[:, None])[:, 0].contiguous())
        # A tile that runs whole looks at pixels that no conv stores, and whose features count as zero.
        _native.clear_tiles(workspace.hidden, workspace.everywhere)
        for number, block in enumerate(group.blocks):
            active = _native.select_pixels(reach, number, self.worth, tiles, pixels)
            if not active:
                return
            self._conv_tiles(block.conv1, workspace.z, workspace.hidden, tiles, relu=True)
            assert block.conv1.pixels is not None
            _native.conv_pixels(block.conv1.pixels, workspace.z, workspace.hidden, pixels, self.threads, relu=True)
            active += _native.select_pixels(depths, number, self.worth, tiles, pixels)
            self._second_conv(block, tiles, pixels, depths, number)
            self._count(block.conv1, active)
            self.blocks_done += 1
            self.progress(self.blocks_done / self.blocks)

    def _second_conv(
        self,
        block: "PackedBlock",
        tiles: _native.Positions,
        pixels: _native.Positions,
        depths: _native.Depths | None,
        number: int,
    ) -> None:
        """z += attention(gate * conv2(hidden)) at tiles and pixels. depths: None for a gate of 1."""
        workspace, threads = self.workspace, self.threads
        out, plus = (workspace.z, workspace.z) if block.attention is None else (workspace.update, None)
        hidden, level = workspace.hidden, float(number)
        self._conv_tiles(block.conv2, hidden, out, tiles, depths=depths, block=level, plus=plus)
        if len(pixels):
            assert block.conv2.pixels is not None
            _native.conv_pixels(block.conv2.pixels, hidden, out, pixels, threads, depths=depths, block=level, plus=plus)
        if block.attention is not None:
            _native.attend(block.attention, workspace.z, workspace.update, tiles, pixels, workspace.scratch, threads)
            self.macs += self.batch * block.attention.macs

    def _conv_tiles(
        self,
        conv: "PackedConv",
        source: _native.Canvas,
        out: _native.Canvas,
        tiles: _native.Positions,
        *,
        relu: bool = False,
        depths: _native.Depths | None = None,
        block: float = 0.0,
        plus: _native.Canvas | None = None,
    ) -> None:
        scratch, threads = self.workspace.scratch, self.threads
        _native.conv_tiles(
            conv.tiles, source, out, tiles, scratch, threads, relu=relu, depths=depths, block=block, plus=plus
        )

    def _count(self, conv: "PackedConv", positions: int) -> None:
        self.macs += positions * conv.macs
