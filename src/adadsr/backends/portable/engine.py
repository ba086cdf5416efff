"""A network prepared in plain torch, with a body that runs sparsely or by its definition."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
)
from adadsr.backends.portable.footprint import body_values, folded_values, tail_values
from adadsr.backends.portable.gather import GatherRun, run_gather
from adadsr.backends.portable.tail import FoldedTail
from adadsr.backends.tail_folding import fold_between, is_foldable
from adadsr.geometry import Box
from adadsr.graph import Array, NetworkWeights, map_arrays
from adadsr.graph.price import body_macs
from adadsr.tensor_ops import OPS, TensorOps


class TensorEngine:
    """See `backends.Engine`. Head and adapter run by their definitions; the data of features is (N, C, H, W).

    Body and tail run in `dtype`; head and adapter, and so the depth map, in float32. A tail with PixelShuffle runs as
    one conv.
    """

    backend = "torch"
    folds = True
    """Whether tails run as one conv."""

    def __init__(self, network: NetworkWeights, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.device, self.dtype = network, device, dtype
        self.half = dtype != torch.float32
        self.head = map_arrays(network.head, self._on_device)
        self.adapter = map_arrays(network.adapter, self._on_device)
        self.body_weights = map_arrays(network.body, self._in_dtype)
        self.tail_weights = map_arrays(network.tail, self._in_dtype)
        self.folded_tail = self._fold() if self.folds else None
        self._body_values, self._tail_values = body_values(network), tail_values(network)
        self._folded_values = 0.0 if self.folded_tail is None else folded_values(network)

    @property
    def variant(self) -> str:
        """The type of body and tail."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights on the device."""
        folded = None if self.folded_tail is None else self.folded_tail.folded
        parts, sizes = (self.head, self.adapter, self.body_weights, self.tail_weights, folded), list[int]()
        map_arrays(parts, lambda tensor: sizes.append(tensor.nbytes))
        return sum(sizes)

    @torch.inference_mode()
    def features(self, lr: Array) -> Features:
        batch, height, width = check_lr(self.network, lr)
        if isinstance(lr, np.ndarray) and not lr.flags.writeable:
            lr = lr.copy()  # torch has no tensors that may not be written
        images = torch.as_tensor(lr).to(self.device, torch.float32).permute(0, 3, 1, 2)
        images = images.contiguous(memory_format=torch.channels_last)
        return Features(self.head.run(OPS, images), batch, height, width, images)

    @torch.inference_mode()
    def scores(self, z0: Features, desired_depth: float) -> npt.NDArray[np.float32]:
        self.network.require_adapter()
        assert self.adapter is not None
        desired = torch.full((z0.batch,), desired_depth, device=self.device, dtype=torch.float32)
        scores: npt.NDArray[np.float32] = self.adapter.run(OPS, z0.data, desired).cpu().numpy()
        return scores

    @torch.inference_mode()
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
        depths, known = (
            None if part is None else torch.from_numpy(part).to(self.device) for part in (depth_map, means)
        )
        run = self._run_body(z0.data.to(self.dtype), depths, progress, known)
        used = run.means if self.network.body.attends else None
        return Features(run.z, z0.batch, z0.height, z0.width, z0.image, run.macs, used)

    @torch.no_grad()  # not inference mode, because callers could not change its tensors
    def tail(self, z: Features, box: Box) -> Tensor:
        sr = self._defined_tail(z, box) if self.folded_tail is None else self.folded_tail.run(z.data, box)
        # In float32: half precision rounds values near 255 to eighths or to whole numbers.
        finished: Tensor = self.head.denormalise(OPS, sr.float())
        return finished.permute(0, 2, 3, 1)

    def _defined_tail(self, z: Features, box: Box) -> Tensor:
        """(N, 3, s*h, s*w)."""
        region = box.grown(self.network.tail.reach, Box(0, 0, z.height, z.width))
        image = self.head.normalise(OPS, region.of(z.image))
        sr = self.tail_weights.run(OPS, region.of(z.data), image.to(self.dtype))
        inner: Tensor = box.relative_to(region).scaled(self.network.scale).of(sr)
        return inner

    def footprint(self, height: int, width: int, batch: int = 1) -> int:
        """An upper bound on the tensors; workspaces of torch's convs are not counted."""
        rows = min(height, band_rows(width) + 2 * self.network.tail.reach)
        padded = [-(-side // self.network.depth_tile) * self.network.depth_tile + 2 for side in (height, width)]
        kept = height * width * (3 + 2 * self.network.channels)  # the LR image, z0 and z
        body = padded[0] * padded[1] * self._body_values
        tail = rows * width * self._tail_values
        if self.folded_tail is not None:
            edge = (1 + self.network.tail.reach) * max(rows, width)  # rows or columns at the border, one at a time
            tail = rows * width * self._folded_values + min(rows * width, edge) * self._tail_values
        return 4 * batch * (kept + math.ceil(max(body, tail)))

    def free_bytes(self) -> int | None:
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        # What torch keeps from earlier images serves the next one.
        return int(free) + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)

    def _run_body(self, z0: Tensor, depth_map: Tensor | None, progress: Progress, means: Tensor | None) -> GatherRun:
        return run_gather(self.body_weights, z0, depth_map, progress, means)

    def _fold(self) -> FoldedTail | None:
        """None for tails of other forms."""
        tail, arrays = self.tail_weights, self.network.tail
        if not (is_foldable(tail) and is_foldable(arrays)):
            return None
        return FoldedTail(tail, map_arrays(fold_between(arrays), self._in_dtype))

    def _on_device(self, array: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _in_dtype(self, array: npt.NDArray[np.float32]) -> Tensor:
        return self._on_device(array).to(self.dtype)


class DenseEngine(TensorEngine):
    """The definition as an engine: every block everywhere, times the gates."""

    backend = "dense"
    folds = False

    def _run_body(self, z0: Tensor, depth_map: Tensor | None, progress: Progress, means: Tensor | None) -> GatherRun:
        body, (batch, _, height, width), ops = self.body_weights, z0.shape, _MeansOps(means)
        z = body.run(ops, z0, depth_map)
        used = torch.stack(ops.used) if ops.used else z0.new_zeros(0)
        return GatherRun(z, body_macs(body, height, width, batch=batch), used)


class _MeansOps(TensorOps):
    """The operations of the definition, where the means of attention may be given. used: those of each block."""

    def __init__(self, given: Tensor | None) -> None:
        self._given = given
        self.used: list[Tensor] = []

    def spatial_mean(self, x: Tensor) -> Tensor:
        self.used.append(super().spatial_mean(x) if self._given is None else self._given[len(self.used)])
        return self.used[-1]
