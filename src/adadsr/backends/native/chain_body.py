"""Bodies whose blocks are chains of 3x3 convs: those of ESRGAN, and of Compact.

A block of ESRGAN reads and writes its features, one canvas for each of its chains, and canvases of what the convs of
a chain grow, which all chains share: a conv reads those before its own, so nothing is concatenated. The last conv adds
to the first canvas in place. With one depth per tile its convs run at active tiles. Beyond them a chain
leaves its input unchanged: a tile that drops out is copied to the other chains' canvases once, and what grows is
cleared.

The blocks of Compact run everywhere, alternating between two canvases; in bfloat16 a third takes the result.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adadsr.backends.engine import DepthMap, Progress
from adadsr.backends.native import _native
from adadsr.backends.native.wavefront import advance, band_of
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Needs, Size

CLOSED = 1
"""The canvas of what a closing conv returns; it reads the first."""


class ChainStep(NamedTuple):
    """One conv. All canvases are numbers of those of the body.

    block: its number. macs: multiply-accumulates per pixel. starts: whether it is the first of its block. gated:
    whether the gate applies to it. The others are as for `_native.conv_tiles`.
    """

    weights: _native.TileWeights
    macs: int
    block: int
    source: int
    out: int
    starts: bool
    gated: bool
    slope: float = 1.0
    more: tuple[int, ...] = ()
    plus: int | None = None
    also: int | None = None
    also_factor: float = 1.0


class PackedChains(NamedTuple):
    """A packed body. steps: its convs but the last. conv: the closing one, if any; a skip from z0 follows.

    canvases: channels of each. drops: canvases that a tile is copied to when it drops out, and those that are cleared;
    None if blocks run everywhere. side: of the tiles of the depth map. exits: closing convs of positions where 0, 1,
    ... blocks run, as in `graph.BodyWeights`.
    """

    steps: tuple[ChainStep, ...]
    blocks: int
    conv: tuple[_native.TileWeights, int] | None
    canvases: tuple[int, ...]
    drops: tuple[tuple[int, ...], tuple[int, ...]] | None
    side: int
    exits: tuple[_native.TileWeights, ...] = ()

    @property
    def channels(self) -> int:
        """Of the features between blocks."""
        return self.canvases[0]

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        closing = 0 if self.conv is None else self.conv[0].bytes
        return closing + sum(weights.bytes for weights in (*self.exits, *(step.weights for step in self.steps)))

    def needs(self, size: tuple[int, int, int], threads: int, *, has_map: bool) -> Needs:
        """The canvases; lists of the tiles that run and of those that drop out.

        size: batch, height, width. has_map: whether there is a depth map.
        """
        batch, height, width = size
        tiles = batch * -(-height // TILE) * -(-width // TILE)
        convs = [step.weights for step in self.steps] + ([] if self.conv is None else [self.conv[0]])
        precisions = self._precisions(has_map)
        return Needs(
            canvases=tuple(Size(*size, *each) for each in zip(self.canvases, precisions, strict=True)),
            positions=(tiles, tiles),
            depths=(tiles if self.side > 1 else batch * height * width,),
            scratch=max(weights.scratch_bytes(threads) for weights in convs),
        )

    def _precisions(self, has_map: bool) -> list[str]:
        """Of each canvas: float32 where features are added or returned, bfloat16 where a conv in it reads them."""
        steps, last = self.steps, self.steps[-1].out
        if not steps[0].weights.is_bfloat16:
            return ["float32"] * len(self.canvases)
        wide = {number for step in steps for number in (step.plus, step.also)}
        wide |= {step.source for step in steps if has_map and step.gated}
        wide.add(last if self.conv is None else CLOSED)
        narrow = {number for step in steps for number in (step.source, *step.more)}
        if self.conv is not None:
            narrow.add(last)
        names = {(True, False): "float32", (False, True): "bfloat16", (True, True): "both"}
        return [names[number in wide, number in narrow] for number in range(len(self.canvases))]

    def run(
        self, z0: Lease, depth_map: DepthMap | None, canvases: Sequence[Lease], lists: Lists, threads: int,
        progress: Progress,
    ) -> tuple[Lease, int]:  # fmt: skip
        """Features after the body, and executed multiply-accumulates.

        z0: not changed. depth_map: (N, 1, h, w), None for full depth. canvases, lists: as in `needs`.
        """
        return _ChainRun(self, z0, canvases, lists, threads, progress).run(depth_map)


class _ChainRun:
    """One run of a body."""

    def __init__(
        self, body: PackedChains, z0: Lease, canvases: Sequence[Lease], lists: Lists, threads: int, progress: Progress
    ) -> None:
        self.body, self.z0, self.leases, self.threads, self.progress = body, z0, canvases, threads, progress
        self.canvases = [lease.canvas for lease in canvases]
        (self.tiles, self.dropped), (self.depths,), self.scratch = lists.positions, lists.depths, lists.scratch
        batch, height, width, _ = z0.images.shape
        self.rows, self.columns = batch * -(-height // TILE), -(-width // TILE)

    def run(self, depth_map: DepthMap | None) -> tuple[Lease, int]:
        body, depths, running = self.body, None, self.body.blocks
        if depth_map is not None:
            depths = self.depths
            depths.copy_from(np.ascontiguousarray(depth_map[:, 0]))
            running = math.ceil(min(max(float(depth_map.max()), 0), running))
        self.canvases[0].copy_from(self.z0.images, self.threads)
        steps = [step for step in body.steps if step.block < running]
        ran, done = [0] * len(steps), [0] * len(steps)

        def run_step(index: int, low: int, high: int) -> None:
            ran[index] += self._run_step(steps[index], depths, low * self.columns, high * self.columns)
            done[index] = high
            self.progress(sum(done) / (len(steps) * self.rows))

        size = max(canvas.bytes for canvas in self.canvases)
        advance(len(steps), self.rows, band_of(self.rows, size), run_step)
        macs = sum(self._macs(step.macs, tiles) for step, tiles in zip(steps, ran, strict=True))
        result = 0 if not steps else steps[-1].out
        if body.conv is None:
            return self.leases[result], macs
        weights, each = body.conv
        exits = () if depths is None else body.exits
        for n_blocks, own in enumerate((*exits, weights)):
            self._choose(depths, n_blocks, exits)
            source, target = self.canvases[result], self.canvases[CLOSED]
            _native.conv_tiles(own, source, target, self.tiles, self.scratch, self.threads, plus=self.z0.canvas)
        return self.leases[CLOSED], macs + self._macs(each, self.rows * self.columns)

    def _choose(self, depths: _native.Depths | None, n_blocks: int, exits: Sequence[_native.TileWeights]) -> None:
        """Let `tiles` be those that end after `n_blocks` blocks; all of them if there are no exits."""
        count = self.rows * self.columns
        if depths is None or not exits:
            self.tiles.span(0, count)
            return
        low = n_blocks - 1 if n_blocks else -math.inf
        high = n_blocks if n_blocks < len(exits) else math.inf
        _native.select_between(depths, low, high, 0, count, self.tiles, self.threads)

    def _macs(self, macs: int, tiles: int) -> int:
        """Multiply-accumulates of a conv that ran at `tiles` tiles."""
        canvas = self.canvases[0]
        return macs * (canvas.pixels if tiles == canvas.tiles else tiles * TILE**2)

    def _run_step(self, step: ChainStep, depths: _native.Depths | None, low: int, high: int) -> int:
        """Run one conv at its tiles in `low` .. `high` - 1. Returns their number."""
        tiles, number, canvases = self.tiles, step.block, self.canvases
        if depths is None or self.body.drops is None:
            tiles.span(low, high)
        else:
            if step.starts:
                self._drop(depths, number, low, high)
            _native.select_between(depths, number, math.inf, low, high, tiles, self.threads)
        plus, also = (None if each is None else canvases[each] for each in (step.plus, step.also))
        gate = depths if step.gated else None
        if gate is not None and plus is None:
            # x + gate * (out - x), for a block that does not add its input.
            plus, also = canvases[step.source], canvases[step.source]
        factor = -1.0 if also is not None and step.also is None else step.also_factor
        _native.conv_tiles(
            step.weights, canvases[step.source], canvases[step.out], tiles, self.scratch, self.threads,
            slope=step.slope, depths=gate, block=float(number), plus=plus, also=also, also_factor=factor,
            more=[canvases[each] for each in step.more],
        )  # fmt: skip
        return len(tiles)

    def _drop(self, depths: _native.Depths, number: int, low: int, high: int) -> None:
        """Prepare the tiles where the block before ran, but this one does not."""
        assert self.body.drops is not None
        copied, cleared = self.body.drops
        before = number - 1 if number else -math.inf
        _native.select_between(depths, before, number, low, high, self.dropped, self.threads)
        for each in cleared:
            _native.clear_tiles(self.canvases[each], self.dropped, self.threads)
        for each in copied:
            _native.copy_tiles(self.canvases[0], self.canvases[each], self.dropped, self.threads)
