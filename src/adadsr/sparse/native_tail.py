"""The tail on the native engine: its last two convs are one, and PixelShuffle is where a conv before them stores.

All convs advance together, a few rows of tiles at a time: a conv runs as far as the rows it looks at are there.
"""

import math
import operator
from itertools import accumulate

import torch
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.sparse import _native
from adadsr.sparse.body import Tail
from adadsr.sparse.packing import to_pack
from adadsr.sparse.tail_folding import fold_tail
from adadsr.sparse.workspaces import TILE, WorkspacePool, chosen_isa

STEP_PIXELS = 2**14
"""Pixels of z that one step takes, about: what they become should stay in cache until it is read."""
REACH = 2
"""Rows that the folded conv looks further down than it stores."""


class NativeTail:
    """`reference.run_tail` with a tail whose weights are packed. Threads may share it."""

    def __init__(self, tail: Tail, isa: str | None = None) -> None:
        """isa: one of `_native.isas()`, None for ADADSR_ISA or else the fastest. Raises BackendError."""
        self.isa = chosen_isa(isa)
        packs = [
            to_pack(conv, f"conv {number + 1} of the tail") for number, conv in enumerate((*tail.convs, tail.last))
        ]
        if not tail.convs:
            raise BackendError("the native engine runs tails that enlarge; this one has no conv with a PixelShuffle")
        self.channels, self.outputs = [conv.weight.shape[1] for conv in tail.convs], len(tail.last.bias)
        self.factors = tail.factors
        self.stages = [
            _native.TileWeights(*pack, self.isa, factor)
            for pack, factor in zip(packs[:-2], tail.factors[:-1], strict=True)
        ]
        folded = fold_tail(Tail(tail.convs[-1:], tail.factors[-1:], tail.last))
        self.enlarging = [_native.EnlargingWeights(*conv, self.isa, tail.factors[-1]) for conv in folded]
        self._workspaces = WorkspacePool[tuple[int, int], _Workspace](lambda size: _Workspace(self, *size))

    def __call__(self, z: Tensor) -> Tensor:
        """z: (N, C, H, W) float32 -> (N, C', s*H, s*W). Not differentiable. Raises InputError."""
        if z.ndim != 4 or z.shape[1] != self.channels[0] or z.dtype != torch.float32 or not z.numel():
            raise InputError(f"z is {tuple(z.shape)} of {z.dtype}, not (N, {self.channels[0]}, H, W) of float32")
        height, width = z.shape[2:]
        scale = math.prod(self.factors)
        out = torch.empty(z.shape[0], self.outputs, height * scale, width * scale)
        with self._workspaces.lease((height, width)) as workspace, torch.no_grad():
            for image, enlarged in zip(z, out, strict=True):
                workspace.canvases[0].take(image[None].permute(0, 2, 3, 1), torch.get_num_threads())
                workspace.run(self, enlarged[None])
        return out

    def workspace_bytes(self, height: int, width: int) -> int:
        """What a run on images of this size works in, beside its result; nothing is allocated to say so."""
        canvases = self.canvases(height, width)
        positions = 4 * self.positions(height, width)
        return sum(_native.Canvas.bytes_of(*canvas) for canvas in canvases) + positions + self.scratch_bytes()

    def canvases(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """What lies before each conv, the last two being one: images, rows, columns and channels of a canvas."""
        enlarged = accumulate((1, *self.factors[:-1]), operator.mul)
        return [(1, height * by, width * by, count) for by, count in zip(enlarged, self.channels, strict=True)]

    def positions(self, height: int, width: int) -> int:
        """The tiles at which a conv runs at once, at most: none where there is only the folded one."""
        *stored, _ = self.canvases(height, width)
        return max((-(-rows // TILE) * -(-columns // TILE) for _, rows, columns, _ in stored), default=0)

    def scratch_bytes(self) -> int:
        """The most that a conv needs beside its canvases."""
        return max((stage.scratch_bytes(torch.get_num_threads()) for stage in self.stages), default=0)


class _Workspace:
    """The features before each conv of one image, the last two convs being one."""

    def __init__(self, tail: NativeTail, height: int, width: int) -> None:
        sizes = tail.canvases(height, width)
        self.canvases = [_native.Canvas(*size) for size in sizes]
        self.heights, self.columns = [size[1] for size in sizes], [-(-size[2] // TILE) for size in sizes]
        self.tiles = _native.Positions.with_room(tail.positions(height, width))
        self.scratch = _native.Scratch(tail.scratch_bytes())

    @property
    def bytes(self) -> int:
        """Size of the workspace."""
        return sum(canvas.bytes for canvas in self.canvases) + self.tiles.bytes + self.scratch.bytes

    def run(self, tail: NativeTail, out: Tensor) -> None:
        """All convs, from the first canvas to `out`, (1, C', s*H, s*W)."""
        step = max(1, STEP_PIXELS // (self.columns[0] * TILE**2))
        done, enlarged = [0] * len(tail.stages), 0
        for rows in range(step, self._tile_rows(0) + step, step):
            ready = min(rows * TILE, self.heights[0])
            for stage, factor in enumerate(tail.factors[:-1]):
                ready = self._run_stage(tail, stage, done, ready) * factor
            bottom = ready if ready == self.heights[-1] else max(enlarged, ready - REACH)
            _native.enlarge(tail.enlarging, self.canvases[-1], out, enlarged, bottom, torch.get_num_threads())
            enlarged = bottom

    def _run_stage(self, tail: NativeTail, stage: int, done: list[int], ready: int) -> int:
        """Run a conv as far as the rows before it are `ready`, and return how many rows of them it has used up."""
        whole = ready == self.heights[stage]
        tile_rows = self._tile_rows(stage) if whole else max(done[stage], (ready - 1) // TILE)
        columns, (source, out) = self.columns[stage], self.canvases[stage : stage + 2]
        self.tiles.span(done[stage] * columns, tile_rows * columns)
        _native.conv_tiles(tail.stages[stage], source, out, self.tiles, self.scratch, torch.get_num_threads())
        done[stage] = tile_rows
        return min(tile_rows * TILE, self.heights[stage])

    def _tile_rows(self, stage: int) -> int:
        return -(-self.heights[stage] // TILE)
