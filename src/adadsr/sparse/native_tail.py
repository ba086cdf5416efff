"""The tail on the native engine: PixelShuffle is where the conv before it stores, and its rows are used while in cache.

All convs advance together, a few rows of tiles at a time: a conv runs as far as the rows it looks at are there.
"""

import math

import torch
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.sparse import _native
from adadsr.sparse.body import Conv, Tail
from adadsr.sparse.native_pass import TILE
from adadsr.sparse.workspaces import WorkspacePool, chosen_isa, view

STEP_BYTES = 2**22
"""Enlarged features that one step of the first conv makes, about: they should stay in cache until they are read."""


class NativeTail:
    """`reference.run_tail` with a tail whose weights are packed. Threads may share it."""

    def __init__(self, tail: Tail, isa: str | None = None) -> None:
        """isa: one of `_native.isas()`, None for ADADSR_ISA or else the fastest. Raises BackendError."""
        self.isa = chosen_isa(isa)
        self.factors = (*tail.factors, 1)
        convs = (*tail.convs, tail.last)
        self.channels = (
            convs[0].weight.shape[1],
            *(len(c.bias) // f**2 for c, f in zip(convs, self.factors, strict=True)),
        )
        self.weights = [self._pack(conv, factor) for conv, factor in zip(convs, self.factors, strict=True)]
        self._workspaces = WorkspacePool[tuple[int, int], _Workspace](lambda size: _Workspace(self, *size))

    def __call__(self, z: Tensor) -> Tensor:
        """z: (N, C, H, W) float32 -> (N, C', s*H, s*W). Not differentiable. Raises InputError."""
        if z.ndim != 4 or z.shape[1] != self.channels[0] or z.dtype != torch.float32 or not z.numel():
            raise InputError(f"z is {tuple(z.shape)} of {z.dtype}, not (N, {self.channels[0]}, H, W) of float32")
        scale = math.prod(self.factors)
        height, width = z.shape[2:]
        out = z.new_empty(z.shape[0], self.channels[-1], height * scale, width * scale)
        with self._workspaces.lease((height, width)) as workspace, torch.no_grad():
            for image, enlarged in zip(z, out, strict=True):
                view(workspace.canvases[0])[0].copy_(image.permute(1, 2, 0))
                workspace.run(self)
                enlarged.copy_(view(workspace.canvases[-1])[0].permute(2, 0, 1))
        return out

    def _pack(self, conv: Conv, factor: int) -> _native.TileWeights:
        weight, bias = (part.detach().contiguous() for part in conv)
        if weight.shape[2:] != (3, 3) or weight.dtype != torch.float32:
            raise BackendError(
                f"a conv of the tail has weights {tuple(weight.shape)} of {weight.dtype}; the native engine runs 3x3 "
                "convs in float32"
            )
        return _native.TileWeights(weight, bias, self.isa, factor)


class _Workspace:
    """The features before and after each conv of one image."""

    def __init__(self, tail: NativeTail, height: int, width: int) -> None:
        self.canvases = [_native.Canvas(1, height, width, tail.channels[0])]
        self.heights, self.columns = [height], [-(-width // TILE)]
        for factor, channels in zip(tail.factors, tail.channels[1:], strict=True):
            height, width = height * factor, width * factor
            self.canvases.append(_native.Canvas(1, height, width, channels))
            self.heights.append(height)
            self.columns.append(-(-width // TILE))
        self.scratch = _native.Scratch()

    @property
    def bytes(self) -> int:
        """Size of the workspace."""
        return sum(canvas.bytes for canvas in self.canvases) + self.scratch.bytes

    def run(self, tail: NativeTail) -> None:
        """All convs from the first canvas to the last."""
        threads = torch.get_num_threads()
        tile_rows = [-(-height // TILE) for height in self.heights]
        step = max(1, STEP_BYTES * tile_rows[0] // self.canvases[1].bytes)
        done = [0] * len(tail.weights)
        for target in range(step, tile_rows[0] + step, step):
            ready = min(target, tile_rows[0])
            for index, weights in enumerate(tail.weights):
                columns = self.columns[index]
                tiles = torch.arange(done[index] * columns, ready * columns, dtype=torch.int32)
                source, out = self.canvases[index : index + 2]
                _native.conv_tiles(weights, source, out, _native.Positions(tiles), self.scratch, threads)
                done[index] = ready
                # The next conv looks one row further down than it stores.
                pixels = min(ready * TILE * tail.factors[index], self.heights[index + 1])
                finished = pixels == self.heights[index + 1]
                ready = tile_rows[index + 1] if finished else max(0, (pixels - 1) // TILE)
