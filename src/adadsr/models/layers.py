"""The parts of the networks: head, residual block, channel attention, tail."""

import torch
from torch import Tensor, nn

from adadsr.sparse.body import Attention, Block, Conv
from adadsr.sparse.body import Tail as TailTensors
from adadsr.sparse.front import Head as HeadTensors
from adadsr.sparse.front import run_head
from adadsr.sparse.reference import run_tail

RGB_MEAN = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)
"""Mean colour of DIV2K in 0..255, subtracted before the head and added after the tail."""


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width (zero padding of one pixel) and has a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def conv_tensors(conv: nn.Conv2d) -> Conv:
    """Weight and bias of a conv as a backend takes them."""
    assert conv.bias is not None
    return Conv(conv.weight, conv.bias)


def rgb_mean(like: Tensor) -> Tensor:
    """RGB_MEAN as (1, 3, 1, 1) of the device and dtype of `like`."""
    # Filled where it is needed: a copy from the host would make an accelerator wait at every call.
    return torch.cat([like.new_full((1, 1, 1, 1), value) for value in RGB_MEAN], dim=1)


class Head(nn.Module):
    """LR image to features: (N, 3, H, W) in 0..255 -> z0, (N, C, H, W)."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv3x3(3, n_feats)

    def forward(self, lr: Tensor) -> Tensor:
        return run_head(self.tensors(), lr)

    def tensors(self) -> HeadTensors:
        """The head as a backend takes it."""
        return HeadTensors(rgb_mean(self.conv.weight), conv_tensors(self.conv))


class ChannelAttention(nn.Module):
    """The parameters of channel attention: 1x1 convs C -> C/16 -> C on the channels' means over the whole image."""

    REDUCTION = 16

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        bottleneck = max(1, n_feats // self.REDUCTION)
        self.squeeze = nn.Conv2d(n_feats, bottleneck, kernel_size=1)
        self.excite = nn.Conv2d(bottleneck, n_feats, kernel_size=1)

    def tensors(self) -> Attention:
        """The attention as a backend takes it."""
        return Attention(conv_tensors(self.squeeze), conv_tensors(self.excite))


class ResidualBlock(nn.Module):
    """The parameters of one step of depth, x + attention(gate * conv2(relu(conv1(x)))); `sparse.reference` runs it."""

    def __init__(self, n_feats: int, attention: ChannelAttention | None = None) -> None:
        super().__init__()
        self.conv1 = conv3x3(n_feats, n_feats)
        self.conv2 = conv3x3(n_feats, n_feats)
        self.attention = attention

    def tensors(self) -> Block:
        """The block as a backend takes it."""
        attention = None if self.attention is None else self.attention.tensors()
        return Block(conv_tensors(self.conv1), conv_tensors(self.conv2), attention)


def block_tensors(blocks: nn.ModuleList) -> tuple[Block, ...]:
    """Residual blocks in order, as a backend takes them."""
    return tuple(block.tensors() for block in blocks if isinstance(block, ResidualBlock))


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
        return run_tail(self.tensors(), z) + rgb_mean(z)

    def tensors(self) -> TailTensors:
        """The tail as a backend takes it, without the mean colour."""
        convs = tuple(conv_tensors(conv) for conv in self.upsample if isinstance(conv, nn.Conv2d))
        return TailTensors(convs, self.factors, conv_tensors(self.conv))
