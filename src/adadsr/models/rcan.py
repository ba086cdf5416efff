"""The body of RCAN ("Image Super-Resolution Using Very Deep Residual Channel Attention Networks", arXiv:1807.02758)."""

from torch import Tensor, nn

from adadsr.models.config import NetworkConfig
from adadsr.models.layers import ChannelAttention, ResidualBlock, block_tensors, conv3x3, conv_tensors
from adadsr.sparse.body import Body, Group
from adadsr.sparse.reference import run_reference


class ResidualGroup(nn.Module):
    """The parameters of a group: residual blocks with channel attention, one 3x3 conv."""

    def __init__(self, n_feats: int, n_resblocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(n_feats, ChannelAttention(n_feats)) for _ in range(n_resblocks))
        self.conv = conv3x3(n_feats, n_feats)

    def tensors(self) -> Group:
        """The group as a backend takes it."""
        return Group(block_tensors(self.blocks), conv_tensors(self.conv))


class RCANBody(nn.Module):
    """Residual groups with a skip around each, one 3x3 conv, and the skip from z0 around all."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.depth_tile = config.depth_tile
        self.groups = nn.ModuleList(ResidualGroup(config.n_feats, config.n_resblocks) for _ in range(config.n_groups))
        self.conv = conv3x3(config.n_feats, config.n_feats)

    def tensors(self) -> Body:
        """The body as a backend takes it."""
        groups = tuple(group.tensors() for group in self.groups if isinstance(group, ResidualGroup))
        return Body(groups, conv_tensors(self.conv), self.depth_tile)

    def forward(self, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """z0: (N, C, H, W). depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks; None is full depth."""
        return run_reference(self.tensors(), z0, depth_map)
