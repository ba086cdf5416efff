"""A network prepared for a CUDA device: the portable engine with a body in Triton."""

from dataclasses import replace

import torch

from adadsr.backends.engine import (
    DepthMap,
    Features,
    Means,
    Progress,
    Revise,
    check_depth_map,
    check_means,
    no_progress,
)
from adadsr.backends.gpu.body import TritonBody
from adadsr.backends.gpu.lists import lists_bytes
from adadsr.backends.portable.engine import TensorEngine
from adadsr.graph import NetworkWeights
from adadsr.graph.price import body_macs


class TritonEngine(TensorEngine):
    """See `backends.Engine`. Head, adapter and tail run as in `TensorEngine`."""

    backend = "triton"

    def __init__(self, network: NetworkWeights, device: torch.device, dtype: torch.dtype) -> None:
        """Raises BackendError unless the blocks are residual blocks of two equal 3x3 convs."""
        super().__init__(network, device, dtype)
        self.triton_body = TritonBody(self.body_weights)
        self.body_weights = self.triton_body.weights

    @property
    def variant(self) -> str:
        """Type of body and tail, type of products if float32, and a note that timings decide which kernels run."""
        products = f", {self.triton_body.precision} products" if self.dtype == torch.float32 else ""
        return f"{super().variant}{products}, autotuned"

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
        features = z0.data.to(self.dtype)
        plan = self.triton_body.plan(features, depth_map)
        depths, known = (
            None if part is None else torch.from_numpy(part).to(self.device) for part in (depth_map, means)
        )
        used = None
        if self.network.body.attends:
            blocks, channels = len(self.network.body.blocks), self.network.channels
            used = torch.zeros(blocks, z0.batch, channels, device=self.device) if known is None else known
        z = self.triton_body.run(features, depths, plan, progress, used, means_given=known is not None)
        macs = body_macs(self.network.body, z0.height, z0.width, depth_map, z0.batch)  # while the device works
        return replace(z0, data=z, macs=macs, means=used)

    def footprint(self, height: int, width: int, batch: int = 1) -> int:
        lists = lists_bytes(self.network.depth_tile, self.network.n_groups, height, width, batch)
        return super().footprint(height, width, batch) + lists
