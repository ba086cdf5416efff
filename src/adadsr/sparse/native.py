"""The native CPU engine: a body whose weights are packed once. `native_pass` runs it, native/src is its C++.

Importing this module needs the compiled extension; `extension.missing` says whether it is there.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.sparse import _native
from adadsr.sparse.body import Attention, Block, Body, BodyRun, Conv, Group
from adadsr.sparse.native_pass import Workspace, run_pass
from adadsr.sparse.packing import to_pack
from adadsr.sparse.workspaces import TILE, WorkspacePool, chosen_isa


class PackedConv(NamedTuple):
    """A conv in the layouts of both algorithms. macs: multiply-accumulates at one pixel."""

    tiles: _native.TileWeights
    pixels: _native.PixelWeights | None
    macs: int


class PackedBlock(NamedTuple):
    """As `Block`."""

    conv1: PackedConv
    conv2: PackedConv
    attention: _native.Attention | None


class PackedGroup(NamedTuple):
    """As `Group`."""

    blocks: tuple[PackedBlock, ...]
    conv: PackedConv | None


class NativeBody:
    """`gather.run_gather` with a body whose weights are packed. Threads may share it."""

    def __init__(self, body: Body, isa: str | None = None) -> None:
        """isa: one of `_native.isas()`, None for ADADSR_ISA or else the fastest. Raises BackendError."""
        self.isa = chosen_isa(isa)
        if body.depth_tile not in (1, TILE):
            raise BackendError(f"the native engine runs a depth_tile of 1 or {TILE}, not {body.depth_tile}")
        self.side, self.channels = body.depth_tile, len(body.conv.bias)
        self.groups = tuple(self._pack_group(group, index) for index, group in enumerate(body.groups))
        self.conv = self._pack(body.conv, "the closing conv", everywhere=True)
        self._workspaces = WorkspacePool[tuple[int, int, int], Workspace](lambda size: Workspace(size, self))

    def __call__(
        self, z0: Tensor, depth_map: Tensor | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> BodyRun:
        """z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for full depth; both float32.

        progress: called with the share of the blocks that is done.

        Not differentiable. Raises InputError, and ValueError for a depth map with a value that is not a number.
        """
        self._check(z0, depth_map)
        size = z0.shape[0], z0.shape[2], z0.shape[3]
        with self._workspaces.lease(size) as workspace, torch.no_grad():
            return run_pass(self, workspace, z0, depth_map, progress)

    @property
    def held(self) -> int:
        """Bytes of the packed weights."""
        convs = [self.conv, *(group.conv for group in self.groups if group.conv is not None)]
        convs += [conv for group in self.groups for block in group.blocks for conv in (block.conv1, block.conv2)]
        return sum(weights.bytes for conv in convs for weights in (conv.tiles, conv.pixels) if weights is not None)

    def workspace_bytes(self, batch: int, height: int, width: int) -> int:
        """What a run on images of this size works in, its result included, at most; nothing is allocated to say so."""
        size = (batch, height, width)
        canvases = sum(_native.Canvas.bytes_of(*canvas) for canvas in self.canvases(size))
        tiles, places = batch * -(-height // TILE) * -(-width // TILE), self.places(size)
        # Three lists, and the depths: with pixel masks also those of the pixels around.
        lists = 2 * tiles + places + (2 if self.side == 1 else 1) * places
        return canvases + 4 * lists + self.scratch_bytes(size)

    def canvases(self, size: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
        """Of z, of the hidden features and the result, of an update and of a group's start: (N, H, W, C) each.

        One that no block of this body needs is the smallest canvas there is.
        """
        sizes = (size, size, *(size if needed else (1, 1, 1) for needed in (self.attends, self.closes)))
        return [(*part, self.channels) for part in sizes]

    def places(self, size: tuple[int, int, int]) -> int:
        """The tiles or pixels that have a depth of their own."""
        batch, height, width = size
        return batch * -(-height // self.side) * -(-width // self.side)

    def scratch_bytes(self, size: tuple[int, int, int]) -> int:
        """The most that an operation needs beside its canvases."""
        sums = _native.sums_bytes(size[0], self.channels, self.places(size)) if self.attends else 0
        return max(sums, self.conv.tiles.scratch_bytes(torch.get_num_threads()))

    @property
    def attends(self) -> bool:
        """Whether a block has channel attention."""
        return any(block.attention is not None for group in self.groups for block in group.blocks)

    @property
    def closes(self) -> bool:
        """Whether a group has a conv of its own."""
        return any(group.conv is not None for group in self.groups)

    @property
    def copies(self) -> int:
        """Buffers of the size of the features that a run holds: z0, z, hidden, two for attention, the adapter's."""
        return 6 if self.attends else 4

    def _pack_group(self, group: Group, index: int) -> PackedGroup:
        blocks = tuple(
            self._pack_block(block, f"{number} of group {index}") for number, block in enumerate(group.blocks)
        )
        conv = None if group.conv is None else self._pack(group.conv, f"the conv of group {index}", everywhere=True)
        return PackedGroup(blocks, conv)

    def _pack_block(self, block: Block, name: str) -> PackedBlock:
        conv1, conv2 = (self._pack(conv, f"a conv of block {name}") for conv in (block.conv1, block.conv2))
        attention = None if block.attention is None else self._pack_attention(block.attention, name)
        return PackedBlock(conv1, conv2, attention)

    def _pack_attention(self, attention: Attention, name: str) -> _native.Attention:
        parts = [part.detach().contiguous() for conv in attention for part in conv]
        if parts[0].shape[1] != self.channels or any(part.dtype != torch.float32 for part in parts):
            raise BackendError(
                f"the channel attention of block {name} has weights {tuple(parts[0].shape)} of {parts[0].dtype}; the "
                f"native engine runs 1x1 convs of {self.channels} channels in float32"
            )
        return _native.Attention(*parts)

    def _pack(self, conv: Conv, name: str, *, everywhere: bool = False) -> PackedConv:
        """everywhere: the conv runs at every pixel, so that weights for single pixels are not needed."""
        weight, bias = to_pack(conv, name)
        if weight.shape[:2] != (self.channels, self.channels):
            shape, channels = tuple(weight.shape), self.channels
            raise BackendError(f"{name} has weights {shape}; the native engine needs ({channels}, {channels}, 3, 3)")
        pixels = None if everywhere or self.side > 1 else _native.PixelWeights(weight, bias, self.isa)
        return PackedConv(_native.TileWeights(weight, bias, self.isa), pixels, weight.numel())

    def _check(self, z0: Tensor, depth_map: Tensor | None) -> None:
        if z0.ndim != 4 or z0.shape[1] != self.channels or z0.dtype != torch.float32 or not z0.numel():
            raise InputError(f"z0 is {tuple(z0.shape)} of {z0.dtype}, not (N, {self.channels}, H, W) of float32")
        if depth_map is None:
            return
        size = (-(-length // self.side) for length in z0.shape[-2:])
        wanted = (z0.shape[0], len(self.groups), *size)
        if tuple(depth_map.shape) != wanted or depth_map.dtype != torch.float32:
            raise InputError(f"depth_map is {tuple(depth_map.shape)} of {depth_map.dtype}, not {wanted} of float32")
