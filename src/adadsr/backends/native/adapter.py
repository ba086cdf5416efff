"""One run of an adapter: its convs in order, from the features of the head to scores."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.backends.native import _native
from adadsr.backends.native.packing import AdapterConv, PackedAdapter
from adadsr.backends.native.workspaces import TILE, Lease, Lists, Needs, Size


class Slot(NamedTuple):
    """A canvas that a conv writes. Convs of one width alternate between two, so none reads what it writes.

    odd: whether the index of the conv is odd.
    """

    channels: int
    odd: bool


def adapter_needs(adapter: PackedAdapter, size: tuple[int, int, int], threads: int) -> Needs:
    """A canvas for each of `_slots`, and the positions at which all convs run.

    size: batch, height, width. Positions are 4x4 tiles of the image, or single scores if there is one score per tile.
    """
    batch, height, width = size
    rows, columns, side = -(-height // adapter.tile), -(-width // adapter.tile), max(TILE, adapter.tile)
    convs = [weights for weights, _, _ in adapter.convs if not isinstance(weights, _native.PixelWeights)]
    return Needs(
        canvases=tuple(Size(batch, rows, columns, slot.channels) for slot in _slots(adapter)),
        positions=(batch * -(-height // side) * -(-width // side),),
        scratch=max(weights.scratch_bytes(threads) for weights in convs),
    )


def _slots(adapter: PackedAdapter) -> list[Slot]:
    """The canvases that the convs write. Features times desired depth share that of the second conv."""
    slots = [Slot(channels, number % 2 == 1) for number, (_, channels, _) in enumerate(adapter.convs)]
    slots += [_scaled(adapter)] if adapter.input_times_depth else []
    return list(dict.fromkeys(slots))


def _scaled(adapter: PackedAdapter) -> Slot:
    return Slot(adapter.in_channels, odd=True)


class AdapterRun:
    """The convs of one run."""

    def __init__(self, adapter: PackedAdapter, canvases: list[Lease], lists: Lists, threads: int) -> None:
        """canvases, lists: as in `adapter_needs`."""
        self.adapter, self.threads, self.scratch = adapter, threads, lists.scratch
        self.canvases = dict(zip(_slots(adapter), canvases, strict=True))
        (self.everywhere,) = lists.positions

    def run(self, z0: Lease, desired_depth: float) -> npt.NDArray[np.float32]:
        """Scores (N, K, ceil(H/t), ceil(W/t)) of features (N, H, W, C). desired_depth: in blocks."""
        adapter, source, images = self.adapter, z0, z0.images
        size = (images.shape[0], images.shape[1], images.shape[2])
        self.everywhere.span(0, adapter_needs(adapter, size, self.threads).positions[0])
        if adapter.input_times_depth:
            source = self.canvases[_scaled(adapter)]
            source.canvas.copy_from(images, self.threads, np.full(len(images), desired_depth, np.float32))
        for number, (weights, channels, slope) in enumerate(adapter.convs):
            out = self.canvases[Slot(channels, number % 2 == 1)]
            self._conv(weights, source.canvas, out.canvas, slope)
            source = out
        factor = np.float32(desired_depth if adapter.output_times_depth else 1)
        return np.ascontiguousarray(source.images.transpose(0, 3, 1, 2) * factor)

    def _conv(self, weights: AdapterConv, source: _native.Canvas, out: _native.Canvas, slope: float) -> None:
        threads = self.threads
        if isinstance(weights, _native.PatchWeights):
            _native.patch_embed(weights, source, out, self.scratch, threads, slope=slope)
        elif isinstance(weights, _native.TileWeights):
            _native.conv_tiles(weights, source, out, self.everywhere, self.scratch, threads, slope=slope)
        else:
            _native.conv_pixels(weights, source, out, self.everywhere, threads, slope=slope)
