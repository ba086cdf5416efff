"""An RCAN that starts as an EDSR: its blocks spread over the groups, and convs fitted to the EDSR's features.

A group adds its input once more after its conv, which no weights undo exactly. With a conv of -2, and residuals at half
size, a group turns features x into -(x + residuals): their size stays, their sign alternates. Then only the blocks
after the first of a group see other features than in the EDSR, and least squares on a few patches removes most of that.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import Attention, BodyWeights, ConvWeights, GroupWeights, ResidualBlock
from adadsr.tensor_ops import OPS

GROUP_CONV = -2.0
"""Weight of the identity in the conv of a group before the fit."""
RESIDUAL_SHARE = (1 + GROUP_CONV) / GROUP_CONV
"""Size of residuals within a group, relative to the EDSR's."""
ATTENTION = 0.5
"""Weight of every channel before the first step: where attention changes it most."""
RIDGE = 1e-4
"""What a fit adds to the power of each input, as a share of it; keeps weights near their first values."""
LEAST_SPREAD = 0.1
"""Channels whose mean hardly differs between patches count as if it did by this share of what is usual."""


@torch.no_grad()
def start_as_edsr(ours: BodyWeights, theirs: BodyWeights, z0: Tensor) -> None:
    """Make the body of an RCAN compute nearly what that of an EDSR does.

    ours: parameters, which are changed; at least as many blocks as theirs. z0: features of patches of photos, (N, C, H,
    W), for the fit. Blocks that the EDSR does not have change nothing at first. They come last in their groups, so that
    shallow depths run the EDSR's.
    """
    z, x, sign, left = z0, z0, 1, list(theirs.groups[0].blocks)
    for number, group in enumerate(ours.groups):
        count = -(-len(left) // (len(ours.groups) - number))
        taken, left = left[:count], left[count:]
        z, x = _start_group(group, [block for block in taken if isinstance(block, ResidualBlock)], z, x, sign)
        sign = -sign
    assert ours.conv is not None
    assert theirs.conv is not None
    _fit(ours.conv, x, theirs.conv.run(OPS, z), sign * theirs.conv.weight)


def _start_group(
    group: GroupWeights, theirs: list[ResidualBlock], z: Tensor, x: Tensor, sign: int
) -> tuple[Tensor, Tensor]:
    """Start a group with some blocks of the EDSR. Returns the features of both after it.

    z: the EDSR's features. x: ours, close to sign * z without its mean.
    """
    start, x_start = z, x
    for block in group.blocks:
        assert isinstance(block, ResidualBlock)
        assert block.attention is not None
        block.attention.excite.weight.zero_()
        block.attention.excite.bias.fill_(torch.tensor(ATTENTION).logit())
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()
    for block, their_block in zip(group.blocks, theirs, strict=False):
        assert isinstance(block, ResidualBlock)
        assert block.attention is not None
        _fit(block.conv1, x, their_block.conv1.run(OPS, z), sign * their_block.conv1.weight)
        z = their_block.run(OPS, z)
        hidden = OPS.relu(block.conv1.run(OPS, x))
        update = (_centred(sign * torch.lerp(start, z, RESIDUAL_SHARE)) - x) / ATTENTION
        _fit(block.conv2, hidden, update, sign * RESIDUAL_SHARE / ATTENTION * their_block.conv2.weight)
        _standardise(block.attention, block.conv2.run(OPS, hidden))
        x = block.run(OPS, x)
    assert group.conv is not None
    identity = GROUP_CONV * torch.eye(len(group.conv.bias))
    _fit(group.conv, x, _centred(-sign * z) - x_start, F.pad(identity[..., None, None], (1, 1, 1, 1)))
    return z, group.conv.run(OPS, x) + x_start


def _centred(features: Tensor) -> Tensor:
    """Without the mean of each channel: a large one would turn small steps of weights into large ones of features."""
    return features - OPS.spatial_mean(features).mean(dim=0)[:, None, None]


def _fit(conv: ConvWeights, x: Tensor, target: Tensor, weight: Tensor) -> None:
    """Let conv(x) be the target in the sense of least squares, borders not counted, by weights near `weight`."""
    conv.weight.copy_(weight)
    conv.bias.zero_()
    missing = (target - conv.run(OPS, x))[..., 1:-1, 1:-1].transpose(0, 1).flatten(1)
    conv.bias.copy_(missing.mean(dim=1))
    missing -= conv.bias[:, None]
    inputs = F.unfold(x, 3).transpose(0, 1).flatten(1)
    inputs = torch.cat([inputs, torch.ones_like(inputs[:1])])
    products, wanted = (inputs @ inputs.T).double(), (inputs @ missing.T).double()
    power = products.diag()
    products += torch.diag(RIDGE * power + torch.finfo(torch.float32).eps * power.mean())
    change = torch.linalg.solve(products, wanted).T.to(x.dtype)
    conv.weight.add_(change[:, :-1].view(conv.weight.shape))
    conv.bias.add_(change[:, -1])


def _standardise(attention: Attention, update: Tensor) -> None:
    """Let the first conv of attention see means of unit variance, which is what its random weights are made for."""
    means = OPS.spatial_mean(update)
    spread = means.std(dim=0, correction=0)
    spread = spread.clamp_min(LEAST_SPREAD * spread.mean())
    if spread.all():  # not so for a single patch
        attention.squeeze.weight.div_(spread[None, :, None, None])
        attention.squeeze.bias.sub_(attention.squeeze.weight.flatten(1) @ means.mean(dim=0))
