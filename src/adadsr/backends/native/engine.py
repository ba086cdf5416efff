"""A network prepared on the native engine: weights packed once, channels innermost from LR to SR."""

import copy

import numpy as np
import numpy.typing as npt

from adadsr.backends.engine import (
    DepthMap,
    Features,
    Means,
    Progress,
    Revise,
    band_rows,
    check_depth_map,
    check_lr,
    check_means,
    no_progress,
    to_numpy,
)
from adadsr.backends.native import _native, packing
from adadsr.backends.native.adapter import AdapterRun, adapter_needs
from adadsr.backends.native.body import BodyRun, body_needs
from adadsr.backends.native.chain_body import PackedChains
from adadsr.backends.native.chain_tail import PackedChainTail
from adadsr.backends.native.tile_threshold import tile_threshold
from adadsr.backends.native.workspaces import HEAD, Memory, Needs, Size, bf16_isa, chosen_isa
from adadsr.errors import BackendError
from adadsr.geometry import Box
from adadsr.graph import Array, NetworkWeights

PRECISIONS = ("float32", "bfloat16")


class NativeEngine:
    """See `backends.Engine`; the data of its features is a `Lease`. Threads may share it."""

    backend = "native"
    half = False

    def __init__(
        self, network: NetworkWeights, threads: int, isa: str | None = None, precision: str = "float32"
    ) -> None:
        """isa: one of `_native.isas()`; None for ADADSR_ISA if set, otherwise the fastest.

        precision: one of PRECISIONS. In bfloat16, the weights of convs of whole tiles are rounded, and the features
        that they read; sums, skips, single pixels and the conv that makes pixels of SR stay float32. With PixelShuffle,
        this conv is the whole tail.

        Raises BackendError for a network that the engine cannot run, and for bfloat16 without AMX.
        """
        isa = chosen_isa(isa)
        if precision not in PRECISIONS:
            raise BackendError(f"precision={precision!r} is not one of {', '.join(PRECISIONS)}")
        self.network, self.threads, self.isa = network, threads, isa if precision == "float32" else bf16_isa(isa)
        self.head = packing.pack_head(network.head, isa)
        self.adapter = None if network.adapter is None else packing.pack_adapter(network.adapter, isa)
        self.packed = packing.pack_body(network.body, self.isa)
        self.packed_tail = packing.pack_tail(network, self.isa, isa)
        self.threshold = tile_threshold(self.packed.channels, self.isa, threads)
        self._adds_image = isinstance(self.packed_tail, PackedChainTail) and self.packed_tail.adds_image
        self._memory = Memory()

    def with_threads(self, threads: int) -> "NativeEngine":
        """The same weights on another number of threads, with memory of its own."""
        other = copy.copy(self)
        other.threads, other._memory = threads, Memory()
        other.threshold = tile_threshold(self.packed.channels, self.isa, threads)
        return other

    @property
    def variant(self) -> str:
        """Instruction set and, where single pixels can run, the threshold between the two algorithms."""
        has_pixels = self.packed.side == 1 and not isinstance(self.packed, PackedChains)
        return f"{self.isa}, {self.threshold}" if has_pixels else self.isa

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights."""
        adapter = 0 if self.adapter is None else self.adapter.bytes
        return self.head.bytes + adapter + self.packed.bytes + self.packed_tail.bytes

    def features(self, lr: Array) -> Features:
        size, images = check_lr(self.network, lr), to_numpy(lr)
        with self._memory.lease(HEAD, self._head_needs(size)) as ((z0,), lists):
            _native.head(self.head, images, z0.canvas, lists.scratch, self.threads)
        return Features(z0, *size, image=images if self._adds_image else None)

    def scores(self, z0: Features, desired_depth: float) -> npt.NDArray[np.float32]:
        self.network.require_adapter()
        assert self.adapter is not None
        with self._memory.lease("adapter", adapter_needs(self.adapter, z0.size, self.threads)) as (canvases, lists):
            return AdapterRun(self.adapter, canvases, lists, self.threads).run(z0.data, desired_depth)

    def body(
        self,
        z0: Features,
        depth_map: DepthMap | None = None,
        progress: Progress = no_progress,
        revise: Revise | None = None,
        means: Means | None = None,
    ) -> Features:
        check_depth_map(self.network, z0, depth_map)
        check_means(self.network, z0, means)
        packed, threads = self.packed, self.threads
        needs = self._body_needs(z0.size, has_map=depth_map is not None)
        with self._memory.lease("body", needs) as (canvases, lists):
            if isinstance(packed, PackedChains):
                z, macs = packed.run(z0.data, depth_map, canvases, lists, threads, progress)
                return Features(z, *z0.size, image=z0.image, macs=macs)
            run = BodyRun(packed, canvases, lists, threads, self.threshold.pixels, progress, revise, means)
            z = run.run(z0.data, depth_map)
        return Features(z, *z0.size, image=z0.image, macs=run.macs, means=run.means if packed.attends else None)

    def tail(self, z: Features, box: Box) -> npt.NDArray[np.float32]:
        if isinstance(self.packed_tail, PackedChainTail):
            return self.packed_tail.run(self._memory, z.data, z.image, box, self.threads)
        return self.packed_tail.run(z.data, box, self.threads)

    def footprint(self, height: int, width: int, batch: int = 1) -> int:
        size, tail, rows = (batch, height, width), self.packed_tail, min(height, band_rows(width))
        needs = [self._head_needs(size), self._body_needs(size, has_map=self.adapter is not None)]
        if isinstance(tail, PackedChainTail):
            needs.append(tail.needs(tail.window((height, width)), self.threads))
        if self.adapter is not None:
            needs.append(adapter_needs(self.adapter, size, self.threads))
        band = 4 * batch * rows * width * self.network.scale**2 * tail.outputs
        return sum(each.bytes for each in needs) + band

    def _body_needs(self, size: tuple[int, int, int], *, has_map: bool) -> Needs:
        packed, threads = self.packed, self.threads
        if isinstance(packed, PackedChains):
            return packed.needs(size, threads, has_map=has_map)
        return body_needs(packed, size, threads, has_map=has_map)

    def _head_needs(self, size: tuple[int, int, int]) -> Needs:
        return Needs((Size(*size, self.packed.channels),), scratch=self.head.scratch_bytes(size[2], self.threads))

    def free_bytes(self) -> None:
        """None: the engine works in the memory of the process."""
