"""The weights that a run starts with: those of a checkpoint, or fresh ones that enlarge bilinearly."""

from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.models import Network
from adadsr.models.layers import Tail

RGB = 3
ADAPTER_ONLY = ("adaptive", "depth_tile")
"""What configurations may differ in where only one of two networks has an adapter."""


def start_from(network: Network, source: str) -> None:
    """Take the weights of the checkpoint `source`; an adapter that only one of the two has is left as it is.

    Of another scale the tail is resampled, which is a start and no more. Raises InputError where head and body, or both
    adapters, are not those of `network`.
    """
    given = checkpoints.load_model(source)
    adapters = given.config.adaptive and network.config.adaptive
    for name, value in asdict(given.config).items():
        compared = name != "scale" and (name not in ADAPTER_ONLY or adapters)
        if compared and value != getattr(network.config, name):
            raise InputError(
                f"start_from={source}: {name}={value} is not that of the recipe's network; use its own kind"
            )
    weights = given.state_dict()
    if given.config.scale != network.config.scale:
        weights = {name: value for name, value in weights.items() if not name.startswith("tail.")}
        _resample_tail(given.tail, network.tail)
    network.load_state_dict(weights, strict=False)


@torch.no_grad()
def _resample_tail(theirs: Tail, ours: Tail) -> None:
    """Make a tail that enlarges as one of another scale does, as nearly as the same features allow.

    Each sub-pixel of an upsampling conv starts between the nearest ones of theirs; a second upsampling that they do
    not have starts as a bilinear enlargement of every channel.
    """
    ours.conv.load_state_dict(theirs.conv.state_dict())
    for index, (conv, factor) in enumerate(zip(ours.upsample, ours.factors, strict=True)):
        assert isinstance(conv, nn.Conv2d)
        if index >= len(theirs.factors):
            _pass_through(conv, factor, conv.in_channels)
            continue
        for name, value in theirs.upsample[index].state_dict().items():
            subpixels = value.view(conv.in_channels, theirs.factors[index], theirs.factors[index], -1).permute(
                0, 3, 1, 2
            )
            resampled = F.interpolate(subpixels, size=(factor, factor), mode="bilinear").permute(0, 2, 3, 1)
            parameter = conv.get_parameter(name)
            parameter.copy_(resampled.reshape(parameter.shape))


def interpolating_init(network: Network) -> None:
    """Start as a bilinear enlargement: RGB passes through the first three features, residual branches start small.

    What is left to learn is the detail, which takes a fraction of the steps.
    """
    with torch.no_grad():
        for group in network.body.tensors().groups:
            for block in group.blocks:
                block.conv2.weight.mul_(0.1)
        network.body.conv.weight *= 0.1
        _pass_through(network.head.conv, 1, RGB)
        for conv, factor in zip(network.tail.upsample, network.tail.factors, strict=True):
            assert isinstance(conv, nn.Conv2d)
            _pass_through(conv, factor, RGB)
        network.tail.conv.weight *= 0.01
        _pass_through(network.tail.conv, 1, RGB, keep=True)


def _pass_through(conv: nn.Conv2d, factor: int, channels: int, *, keep: bool = False) -> None:
    """Let `conv` (before a PixelShuffle of `factor`) hand its first channels on, enlarged bilinearly.

    keep: add to the weights that these channels have; otherwise they start from zero.
    """
    for index in range(channels):
        for phase in range(factor * factor):
            row, column = divmod(phase, factor)
            kernel = torch.outer(_linear_taps(row, factor), _linear_taps(column, factor))
            channel = conv.weight[index * factor * factor + phase]
            if not keep:
                channel.zero_()
            channel[index] += kernel
    bias = conv.bias
    assert bias is not None
    bias.zero_()


def _linear_taps(phase: int, factor: int) -> Tensor:
    """Weights of the pixels at -1, 0, 1 for sub-pixel `phase` of `factor`."""
    offset = (phase + 0.5) / factor - 0.5
    return torch.tensor([max(0.0, -offset), 1 - abs(offset), max(0.0, offset)])
