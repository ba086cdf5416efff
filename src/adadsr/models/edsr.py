"""The body of EDSR ("Enhanced Deep Residual Networks for Single Image Super-Resolution", arXiv:1707.02921)."""

from torch import Tensor, nn

from adadsr.models.config import NetworkConfig
from adadsr.models.layers import ResidualBlock, block_tensors, conv3x3, conv_tensors
from adadsr.sparse.body import Body, Group
from adadsr.sparse.reference import run_reference


class EDSRBody(nn.Module):
    """B residual blocks, one 3x3 conv, and the skip from z0 around them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.depth_tile = config.depth_tile
        self.blocks = nn.ModuleList(ResidualBlock(config.n_feats) for _ in range(config.n_resblocks))
        self.conv = conv3x3(config.n_feats, config.n_feats)

    def tensors(self) -> Body:
        """The body as a backend takes it."""
        group = Group(block_tensors(self.blocks), conv=None)
        return Body((group,), conv_tensors(self.conv), self.depth_tile)

    def forward(self, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """z0: (N, C, H, W). depth_map: (N, 1, ceil(H/t), ceil(W/t)) in blocks; None is full depth."""
        return run_reference(self.tensors(), z0, depth_map)
