"""Head and adapter on the native engine: what they compute stays channels innermost, in canvases, up to the scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.sparse import _native
from adadsr.sparse.front import Adapter, Front, FrontRun
from adadsr.sparse.packing import to_pack
from adadsr.sparse.workspaces import TILE, WorkspacePool, chosen_isa, view


class NativeFront:
    """`front.run_front` with weights that are packed. Threads may share it."""

    def __init__(self, front: Front, isa: str | None = None) -> None:
        """isa: one of `_native.isas()`, None for ADADSR_ISA or else the fastest. Raises BackendError."""
        self.isa = chosen_isa(isa)
        weight, bias = to_pack(front.head.conv, "the head's conv")
        self.channels, self.colours = weight.shape[:2]
        mean = front.head.mean.detach().flatten().contiguous()
        self.head = _native.HeadWeights(weight, bias, mean, self.isa)
        self.adapter = None if front.adapter is None else _Packed(front.adapter, self.isa)
        self._workspaces = WorkspacePool[tuple[int, int, int], _Workspace](lambda size: _Workspace(self, size))

    def __call__(self, lr: Tensor, desired_depth: Tensor | None = None) -> FrontRun:
        """lr: (N, 3, H, W) in 0..255. desired_depth: (N,), in blocks, None for no scores; both float32.

        Not differentiable. Raises InputError.
        """
        self._check(lr, desired_depth)
        size = lr.shape[0], lr.shape[2], lr.shape[3]
        with self._workspaces.lease(size) as workspace, torch.no_grad():
            z0 = workspace.renewed_z0()
            _native.head(self.head, lr.permute(0, 2, 3, 1), z0, workspace.scratch, torch.get_num_threads())
            scores = None
            if desired_depth is not None and self.adapter is not None:
                scores = workspace.scores(self.adapter, desired_depth)
            return FrontRun(view(z0).permute(0, 3, 1, 2), scores)

    @property
    def held(self) -> int:
        """Bytes of the packed weights."""
        adapter = self.adapter
        return self.head.bytes + (0 if adapter is None else sum(conv.bytes for conv in (adapter.first, *adapter.rest)))

    def workspace_bytes(self, batch: int, height: int, width: int) -> int:
        """What a run on images of this size works in, z0 included, scores not; nothing is allocated to say so."""
        size = (batch, height, width)
        canvases = [(*size, self.channels), *self.canvases(size).values()]
        tiles = 0 if self.adapter is None else self.adapter.positions(size)
        return sum(_native.Canvas.bytes_of(*canvas) for canvas in canvases) + self.scratch_bytes(size) + 4 * tiles

    def canvases(self, size: tuple[int, int, int]) -> "dict[Place, Canvas]":
        """The canvases between the adapter's convs for images of a size."""
        return {} if self.adapter is None else self.adapter.canvases(size)

    def scratch_bytes(self, size: tuple[int, int, int]) -> int:
        """The most that an operation on images of a size needs beside its canvases."""
        threads = torch.get_num_threads()
        sizes = [self.head.scratch_bytes(size[2], threads)]
        for weights in () if self.adapter is None else (self.adapter.first, *self.adapter.rest):
            if not isinstance(weights, _native.PixelWeights):
                sizes.append(weights.scratch_bytes(threads))
        return max(sizes)

    def _check(self, lr: Tensor, desired_depth: Tensor | None) -> None:
        if lr.ndim != 4 or lr.shape[1] != self.colours or lr.dtype != torch.float32 or not lr.numel():
            raise InputError(f"lr is {tuple(lr.shape)} of {lr.dtype}, not (N, {self.colours}, H, W) of float32")
        if lr.device.type != "cpu":
            raise InputError(f"lr is on {lr.device}; the native engine runs on the CPU only")
        if desired_depth is None:
            return
        if self.adapter is None:
            raise InputError("a desired depth was given, and there is no adapter: run at full depth, without one")
        if desired_depth.shape != lr.shape[:1] or desired_depth.dtype != torch.float32:
            shape = tuple(desired_depth.shape)
            raise InputError(f"desired_depth is {shape} of {desired_depth.dtype}, not ({len(lr)},) of float32")
        if not bool(torch.isfinite(desired_depth).all()):
            raise InputError("desired_depth holds a value that is not a finite number; give blocks")


Weights = _native.TileWeights | _native.PixelWeights | _native.EmbeddingWeights


class Place(NamedTuple):
    """Where a conv of the adapter stores: canvases of one place follow each other, and none is read and stored at once.

    channels: of the canvas. odd: whether the number of the conv is odd.
    """

    channels: int
    odd: bool


Canvas = tuple[int, int, int, int]
"""Images, rows, columns and channels of a canvas."""


class _Packed:
    """An adapter whose weights are packed.

    The convs of an adapter for single pixels run as 4x4 tiles, those of one for tiles, which are a sixteenth, directly:
    so a score depends on `models.adapter.Adapter.reach` pixels around it and on nothing beyond, to the last bit.
    """

    def __init__(self, adapter: Adapter, isa: str) -> None:
        self.tile = adapter.tile
        self.input_times_depth, self.output_times_depth = adapter.input_times_depth, adapter.output_times_depth
        if self.tile > 1 and self.input_times_depth:
            raise BackendError("the native engine multiplies the input of an adapter for single pixels only")
        first, packing = (
            (_native.TileWeights,) * 2 if self.tile == 1 else (_native.EmbeddingWeights, _native.PixelWeights)
        )
        self.first: Weights = first(
            *to_pack(adapter.first, "the adapter's first conv", 3 if self.tile == 1 else self.tile), isa
        )
        self.rest: list[Weights] = []
        channels = len(adapter.first.weight)
        for number, activated in enumerate(adapter.rest):
            self.rest.append(packing(*to_pack(activated.conv, f"conv {number + 1} of the adapter"), isa))
            if activated.conv.weight.shape[1] != channels or activated.slope.numel() != 1:
                raise BackendError(
                    f"conv {number + 1} of the adapter takes {activated.conv.weight.shape[1]} channels and "
                    f"{activated.slope.numel()} slopes; the native engine needs the {channels} before it and one slope"
                )
            channels = len(activated.conv.weight)
        # A conv stores what the PReLU after it makes of its sums; nothing follows the last one.
        self.slopes = [*(float(activated.slope.detach()) for activated in adapter.rest), 1.0]
        convs = (adapter.first, *(activated.conv for activated in adapter.rest))
        self.in_channels = adapter.first.weight.shape[1]
        self.places = [Place(len(conv.bias), number % 2 == 1) for number, conv in enumerate(convs)]

    def canvases(self, size: tuple[int, int, int]) -> dict[Place, Canvas]:
        """See `NativeFront.canvases`. What is multiplied by the depth lies where the second conv stores."""
        scaled = [self.scaled] if self.input_times_depth else []
        return {place: (*self._sites(size), place.channels) for place in (*self.places, *scaled)}

    def positions(self, size: tuple[int, int, int]) -> int:
        """How many positions the convs run at: 4x4 tiles, or where a score is one of a tile already single ones."""
        batch, rows, columns = self._sites(size)
        side = TILE if self.tile == 1 else 1
        return batch * -(-rows // side) * -(-columns // side)

    @property
    def scaled(self) -> Place:
        """Where features lie that the desired depth multiplied."""
        return Place(self.in_channels, odd=True)

    def _sites(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        batch, height, width = size
        return batch, -(-height // self.tile), -(-width // self.tile)


class _Workspace:
    """Everything that a run on images of one size writes to, beside the scores."""

    def __init__(self, front: NativeFront, size: tuple[int, int, int]) -> None:
        self._z0_size = (*size, front.channels)
        self.z0 = _native.Canvas(*self._z0_size)
        self.canvases = {place: _native.Canvas(*canvas) for place, canvas in front.canvases(size).items()}
        self.everywhere = _native.Positions.all(0 if front.adapter is None else front.adapter.positions(size))
        self.scratch = _native.Scratch(front.scratch_bytes(size))

    @property
    def bytes(self) -> int:
        """Size of the workspace."""
        canvases = sum(canvas.bytes for canvas in (self.z0, *self.canvases.values()))
        return canvases + self.everywhere.bytes + self.scratch.bytes

    def renewed_z0(self) -> _native.Canvas:
        """Where z0 goes: the canvas of the run before, unless somebody still holds what that run returned."""
        if not self.z0.spare:
            self.z0 = _native.Canvas(*self._z0_size)
        return self.z0

    def scores(self, adapter: _Packed, desired_depth: Tensor) -> Tensor:
        """The adapter on z0: (N, G, ceil(H/t), ceil(W/t))."""
        threads = torch.get_num_threads()
        source, out = self.z0, self.canvases[adapter.places[0]]
        if isinstance(adapter.first, _native.EmbeddingWeights):
            _native.embed(adapter.first, source, out, self.scratch, threads, slope=adapter.slopes[0])
        else:
            if adapter.input_times_depth:
                source = self.canvases[adapter.scaled]
                source.take(view(self.z0), threads, desired_depth.contiguous())
            self._conv(adapter.first, source, out, adapter.slopes[0])
        for conv, place, slope in zip(adapter.rest, adapter.places[1:], adapter.slopes[1:], strict=True):
            source, out = out, self.canvases[place]
            self._conv(conv, source, out, slope)
        scores = view(out).permute(0, 3, 1, 2)
        factor = desired_depth if adapter.output_times_depth else torch.ones(1)
        return (scores * factor.view(-1, 1, 1, 1)).contiguous()

    def _conv(self, weights: Weights, source: _native.Canvas, out: _native.Canvas, slope: float) -> None:
        threads = torch.get_num_threads()
        if isinstance(weights, _native.TileWeights):
            _native.conv_tiles(weights, source, out, self.everywhere, self.scratch, threads, slope=slope)
        elif isinstance(weights, _native.PixelWeights):
            _native.conv_pixels(weights, source, out, self.everywhere, threads, slope=slope)
