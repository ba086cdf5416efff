"""Head, adapter, body and tail put together: the dense definition of all four networks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adadsr.errors import InputError
from adadsr.models.adapter import Adapter, EDSRPixelAdapter, RCANPixelAdapter, TileAdapter
from adadsr.models.config import NetworkConfig
from adadsr.models.edsr import EDSRBody
from adadsr.models.layers import Head, Tail
from adadsr.models.rcan import RCANBody
from adadsr.sparse.front import Front


class Backbone(NamedTuple):
    """What a backbone brings: its body, and its adapter that predicts a depth for each pixel."""

    body: Callable[[NetworkConfig], EDSRBody | RCANBody]
    pixel_adapter: Callable[[NetworkConfig], Adapter]


BACKBONES = {
    "edsr": Backbone(EDSRBody, EDSRPixelAdapter),
    "rcan": Backbone(RCANBody, RCANPixelAdapter),
}


class Restoration(NamedTuple):
    """What a network returns: sr (N, 3, s*H, s*W) in 0..255, and the depth map or None where depth is full."""

    sr: Tensor
    depth_map: Tensor | None


class Network(nn.Module):
    """EDSR, RCAN, AdaEDSR or AdaRCAN, by `config`. `forward` is the dense definition that training uses."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.backbone not in BACKBONES:
            raise InputError(f"backbone={config.backbone!r} is not one of {', '.join(BACKBONES)}")
        if config.backbone == "edsr" and config.n_groups != 1:
            raise InputError(f"n_groups={config.n_groups}: EDSR has one group")
        backbone = BACKBONES[config.backbone]
        adapter = TileAdapter if config.depth_tile > 1 else backbone.pixel_adapter
        self.config = config
        self.head = Head(config.n_feats)
        self.adapter: Adapter | None = adapter(config) if config.adaptive else None
        self.body: EDSRBody | RCANBody = backbone.body(config)
        self.tail = Tail(config.n_feats, config.scale)

    def forward(self, lr: Tensor, desired_depth: float | Tensor | None = None) -> Restoration:
        """lr: (N, 3, H, W) in 0..255. desired_depth: in blocks, one number or (N,); None runs every block."""
        z0 = self.head(lr)
        depth_map = None if desired_depth is None else self.predict_depth(z0, desired_depth)
        return Restoration(self.restore(z0, depth_map), depth_map)

    def predict_depth(self, z0: Tensor, desired_depth: float | Tensor) -> Tensor:
        """The adapter's depth map for features z0 (N, C, H, W): (N, G, ceil(H/t), ceil(W/t)), in blocks, >= 0.

        desired_depth: in blocks, one number or (N,).
        """
        depth_map: Tensor = self.require_adapter()(z0, _per_image(desired_depth, z0))
        return depth_map

    def predict_scores(self, z0: Tensor, desired_depth: float) -> Tensor:
        """The adapter's scores, from which `Adapter.depth_map` makes depths; shapes as in `predict_depth`."""
        return self.require_adapter().scores(z0, _per_image(desired_depth, z0))

    def front(self) -> Front:
        """Head and adapter as a backend takes them."""
        return Front(self.head.tensors(), None if self.adapter is None else self.adapter.tensors())

    def require_adapter(self) -> Adapter:
        """The adapter; raises InputError where the network has none."""
        if self.adapter is None:
            raise InputError(f"{self.config.kind} has no adapter: it runs at full depth only")
        return self.adapter

    def restore(self, z0: Tensor, depth_map: Tensor | None) -> Tensor:
        """Body and tail for features z0 and a depth map as `predict_depth` returns it (None: full depth)."""
        sr: Tensor = self.tail(self.body(z0, depth_map))
        return sr


def _per_image(desired_depth: float | Tensor, z0: Tensor) -> Tensor:
    return torch.as_tensor(desired_depth, dtype=z0.dtype, device=z0.device).expand(z0.shape[0])
