"""The weights that a run starts with: those of a checkpoint, or fresh ones that enlarge bilinearly."""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.models import Network

ADAPTER_ONLY = ("adaptive", "depth_tile", "conditioned")
"""What configurations may differ in where only one of two networks has an adapter."""


def start_from(network: Network, source: str) -> None:
    """Take the weights of the checkpoint `source`; an adapter that only one of the two has is left as it is.

    So is the part of an adapter that is conditioned on the desired depth. Raises InputError where head, body and tail,
    or both adapters, are not those of `network`.
    """
    given = checkpoints.load_model(source)
    adapters = given.config.adaptive and network.config.adaptive
    for name, value in asdict(given.config).items():
        compared = name not in ADAPTER_ONLY or (adapters and name != "conditioned")
        if compared and value != getattr(network.config, name):
            raise InputError(
                f"start_from={source}: {name}={value} is not that of the recipe's network; use its own kind"
            )
    network.load_state_dict(given.state_dict(), strict=False)


def interpolating_init(network: Network) -> None:
    """Start as a bilinear enlargement: RGB passes through the first three features, residual branches start small.

    What is left to learn is the detail, which takes a fraction of the steps.
    """
    with torch.no_grad():
        for group in network.body.tensors().groups:
            for block in group.blocks:
                block.conv2.weight.mul_(0.1)
        network.body.conv.weight *= 0.1
        _pass_rgb(network.head.conv, 1)
        for conv, factor in zip(network.tail.upsample, network.tail.factors, strict=True):
            assert isinstance(conv, nn.Conv2d)
            _pass_rgb(conv, factor)
        network.tail.conv.weight *= 0.01
        _pass_rgb(network.tail.conv, 1, keep=True)


def _pass_rgb(conv: nn.Conv2d, factor: int, *, keep: bool = False) -> None:
    """Let `conv` (before a PixelShuffle of `factor`) hand its first three channels on, enlarged bilinearly.

    keep: add to the weights that these channels have; otherwise they start from zero.
    """
    for colour in range(3):
        for phase in range(factor * factor):
            row, column = divmod(phase, factor)
            kernel = torch.outer(_linear_taps(row, factor), _linear_taps(column, factor))
            channel = conv.weight[colour * factor * factor + phase]
            if not keep:
                channel.zero_()
            channel[colour] += kernel
    bias = conv.bias
    assert bias is not None
    bias.zero_()


def _linear_taps(phase: int, factor: int) -> Tensor:
    """Weights of the pixels at -1, 0, 1 for sub-pixel `phase` of `factor`."""
    offset = (phase + 0.5) / factor - 0.5
    return torch.tensor([max(0.0, -offset), 1 - abs(offset), max(0.0, offset)])
