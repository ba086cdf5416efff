"""The parts that EDSR and RCAN share: head, residual block, tail."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RGB_MEAN = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)
"""Mean colour of DIV2K in 0..255, subtracted before the head and added after the tail."""


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width (zero padding of one pixel) and has a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def rgb_mean(like: Tensor) -> Tensor:
    """RGB_MEAN as (1, 3, 1, 1) of the device and dtype of `like`."""
    return torch.tensor(RGB_MEAN, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


class Head(nn.Module):
    """LR image to features: (N, 3, H, W) in 0..255 -> z0, (N, C, H, W)."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv3x3(3, n_feats)

    def forward(self, lr: Tensor) -> Tensor:
        features: Tensor = self.conv(lr - rgb_mean(lr))
        return features


class ResidualBlock(nn.Module):
    """x + attention(gate * conv2(mask * relu(conv1(x)))): one step of depth.

    attention: a module on (N, C, H, W), or None.
    tile_mask: both convs share the mask gate > 0, so that the first conv's output counts as zero outside it.
    """

    def __init__(self, n_feats: int, *, attention: nn.Module | None = None, tile_mask: bool = False) -> None:
        super().__init__()
        self.conv1 = conv3x3(n_feats, n_feats)
        self.conv2 = conv3x3(n_feats, n_feats)
        self.attention = attention
        self.tile_mask = tile_mask

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W). gate: (N, 1, H, W) in [0, 1], or None for 1 everywhere."""
        hidden = F.relu(self.conv1(x))
        if gate is not None and self.tile_mask:
            hidden = hidden * (gate > 0)
        update: Tensor = self.conv2(hidden)
        if gate is not None:
            update = update * gate
        if self.attention is not None:
            update = self.attention(update)
        return x + update


class Tail(nn.Module):
    """Features to the enlarged image: (N, C, H, W) -> (N, 3, s*H, s*W) in 0..255, neither rounded nor clipped.

    scale 2: conv C -> 4C, PixelShuffle(2); 4: that twice; 3: conv C -> 9C, PixelShuffle(3); then conv C -> 3.
    """

    def __init__(self, n_feats: int, scale: int) -> None:
        super().__init__()
        factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
        self.upsample = nn.ModuleList(conv3x3(n_feats, factor * factor * n_feats) for factor in factors)
        self.conv = conv3x3(n_feats, 3)
        self.factors = factors

    def forward(self, z: Tensor) -> Tensor:
        for conv, factor in zip(self.upsample, self.factors, strict=True):
            z = F.pixel_shuffle(conv(z), factor)
        return self.conv(z) + rgb_mean(z)
