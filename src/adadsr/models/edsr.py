"""The body of EDSR ("Enhanced Deep Residual Networks for Single Image Super-Resolution", arXiv:1707.02921)."""

from torch import Tensor, nn

from adadsr.models.config import NetworkConfig
from adadsr.models.layers import ResidualBlock, conv3x3
from adadsr.sparse.depth import gate


class EDSRBody(nn.Module):
    """B residual blocks, one 3x3 conv, and the skip from z0 around them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        tile_mask = config.depth_tile > 1
        self.blocks = nn.ModuleList(
            ResidualBlock(config.n_feats, tile_mask=tile_mask) for _ in range(config.n_resblocks)
        )
        self.conv = conv3x3(config.n_feats, config.n_feats)

    def forward(self, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """z0: (N, C, H, W). depth_map: the depth of each pixel, (N, 1, H, W), in blocks; None is full depth."""
        z = z0
        for index, block in enumerate(self.blocks):
            z = block(z, None if depth_map is None else gate(depth_map, index))
        out: Tensor = self.conv(z) + z0
        return out
