"""The body of RCAN ("Image Super-Resolution Using Very Deep Residual Channel Attention Networks", arXiv:1807.02758)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.models.config import NetworkConfig
from adadsr.models.layers import ResidualBlock, conv3x3
from adadsr.sparse.depth import gate

REDUCTION = 16
"""Channels of the attention's bottleneck are n_feats // REDUCTION (at least one)."""


class ChannelAttention(nn.Module):
    """Scales each channel by a weight in (0, 1) that is predicted from the channels' means over the whole image."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        bottleneck = max(1, n_feats // REDUCTION)
        self.squeeze = nn.Conv2d(n_feats, bottleneck, kernel_size=1)
        self.excite = nn.Conv2d(bottleneck, n_feats, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class ResidualGroup(nn.Module):
    """Residual blocks with channel attention, one 3x3 conv, and the skip around them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(
                config.n_feats, attention=ChannelAttention(config.n_feats), tile_mask=config.depth_tile > 1
            )
            for _ in range(config.n_resblocks)
        )
        self.conv = conv3x3(config.n_feats, config.n_feats)

    def forward(self, x: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W). depth_map: (N, 1, H, W), the depth inside this group; None is full depth."""
        z = x
        for index, block in enumerate(self.blocks):
            z = block(z, None if depth_map is None else gate(depth_map, index))
        out: Tensor = self.conv(z) + x
        return out


class RCANBody(nn.Module):
    """Residual groups, one 3x3 conv, and the skip from z0 around them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.groups = nn.ModuleList(ResidualGroup(config) for _ in range(config.n_groups))
        self.conv = conv3x3(config.n_feats, config.n_feats)

    def forward(self, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """z0: (N, C, H, W). depth_map: the depth of each pixel in each group, (N, G, H, W); None is full depth."""
        z = z0
        for index, group in enumerate(self.groups):
            z = group(z, None if depth_map is None else depth_map[:, index : index + 1])
        out: Tensor = self.conv(z) + z0
        return out
