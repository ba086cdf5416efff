"""The weights that a run starts with: those of a checkpoint, or fresh ones that upsample bilinearly."""

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.graph import ConvWeights, ResidualBlock, ShuffleTail, map_arrays
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS
from adadsr.training.regroup import start_as_edsr

RGB = 3
TYPICAL_LOG_ERROR, SMALL_SLOPE = 3.5, -4.0
"""Scores of a fresh adapter that predicts errors: about 33 squared levels at full depth, and three times that at 0."""
ADAPTER_ONLY = ("adaptive", "depth_tile", "exits")
"""Keys of a configuration that may differ if only one of two networks has an adapter."""
BRANCH_SCALE, LAST_SCALE = 0.1, 0.01
"""Factors of the random weights in a fresh network: of the convs that end a skip, and of the tail's last conv."""


@torch.no_grad()
def start_from(network: Network, source: str, lr: Callable[[], Tensor]) -> str:
    """Copy the weights of the checkpoint `source`; an adapter that only one of the two has is left as it is.

    If the scale differs, the tail is resampled, which is a start and no more. An RCAN also starts from an EDSR
    (`regroup`). lr: makes patches of photos for that, (N, 3, H, W) in 0..255. Returns a hash of the checkpoint's
    network, wherever it lies. Raises InputError if head and body, or both adapters, are not those of `network`.
    """
    given, ours = checkpoints.load_model(source), network.config
    regrouped = (given.config.backbone, ours.backbone) == ("edsr", "rcan")
    _check_alike(given.config, ours, source, regrouped=regrouped)
    tensors = {name: torch.from_numpy(value) for name, value in given.tensors.items()}
    left = ["body.", "adapter."] if regrouped else []
    if given.config.scale != ours.scale:
        tail, their_tail = network.weights().tail, given.weights().tail
        if not isinstance(tail, ShuffleTail) or not isinstance(their_tail, ShuffleTail):
            raise InputError(f"start_from={source} is x{given.config.scale}; {ours.backbone} needs the recipe's scale")
        _resample_tail(map_arrays(their_tail, torch.from_numpy), tail)
        left.append("tail.")
    tensors = {name: value for name, value in tensors.items() if not name.startswith(tuple(left))}
    network.load_state_dict(tensors, strict=False)
    if regrouped:
        weights, theirs = network.weights(), map_arrays(given.weights(), torch.from_numpy)
        start_as_edsr(weights.body, theirs.body, theirs.head.run(OPS, lr()))
    if ours.exits and not given.config.exits:
        body = network.weights().body
        assert body.conv is not None
        for conv in body.exits:
            _copy(conv, body.conv)
    return given.digest()


def _check_alike(given: NetworkConfig, ours: NetworkConfig, source: str, *, regrouped: bool) -> None:
    """Raise InputError if a network cannot start from another. regrouped: as an EDSR's blocks in an RCAN's groups."""
    if regrouped and given.n_resblocks > ours.n_groups * ours.n_resblocks:
        raise InputError(
            f"start_from={source}: n_resblocks={given.n_resblocks} is more than the {ours.n_groups} groups of "
            f"{ours.n_resblocks} blocks of the recipe's network"
        )
    ignored = {"scale"} | ({"backbone", "n_resblocks", "n_groups"} if regrouped else set())
    if regrouped or not (given.adaptive and ours.adaptive):
        ignored |= set(ADAPTER_ONLY)
    for name, value in asdict(given).items():
        if name not in ignored and value != getattr(ours, name):
            raise InputError(f"start_from={source}: {name}={value} differs from the recipe's network")


@torch.no_grad()
def expect_typical_errors(network: Network) -> None:
    """Let a fresh adapter that predicts errors begin with the same plausible ones for every tile; otherwise nothing."""
    adapter = network.weights().adapter
    if adapter is not None and adapter.predicts_errors:
        last = adapter.rest[-1].conv
        last.weight.mul_(LAST_SCALE)
        last.bias.fill_(SMALL_SLOPE)
        last.bias[0] = TYPICAL_LOG_ERROR


def _resample_tail(theirs: ShuffleTail, ours: ShuffleTail) -> None:
    """Make a tail that upsamples as one of another scale does, as nearly as the same features allow.

    Each sub-pixel of a conv before PixelShuffle starts between the nearest ones of theirs; a second such conv that
    they do not have starts as a bilinear upsampling of every channel.
    """
    _copy(ours.last, theirs.last)
    for index, (conv, factor) in enumerate(zip(ours.convs, ours.factors, strict=True)):
        channels = conv.weight.shape[1]
        if index >= len(theirs.convs):
            _pass_through(conv, factor, channels)
            continue
        for parameter, value in zip(conv, theirs.convs[index], strict=True):
            their_factor = theirs.factors[index]
            subpixels = value.view(channels, their_factor, their_factor, -1).permute(0, 3, 1, 2)
            resampled = F.interpolate(subpixels, size=(factor, factor), mode="bilinear").permute(0, 2, 3, 1)
            parameter.copy_(resampled.reshape(parameter.shape))


@torch.no_grad()
def interpolating_init(network: Network) -> None:
    """Make a fresh EDSR or RCAN a bilinear upsampling, so that only the detail is left to learn.

    RGB passes through the first three features, if there are as many, and residual branches start small. Other networks
    stay as they are: their tails have no PixelShuffle that could do so, or add the image themselves.
    """
    weights = network.weights()
    tail, body = weights.tail, weights.body
    passed = min(RGB, network.config.n_feats)
    if not isinstance(tail, ShuffleTail):
        return
    for block in body.blocks:
        if isinstance(block, ResidualBlock):
            block.conv2.weight.mul_(BRANCH_SCALE)
    if body.conv is not None:
        body.conv.weight.mul_(BRANCH_SCALE)
    _pass_through(weights.head.conv, 1, passed)
    for conv, factor in zip(tail.convs, tail.factors, strict=True):
        _pass_through(conv, factor, passed)
    tail.last.weight.mul_(LAST_SCALE)
    _pass_through(tail.last, 1, passed, add=True)


def _pass_through(conv: ConvWeights, factor: int, channels: int, *, add: bool = False) -> None:
    """Let `conv` (before a PixelShuffle of `factor`) pass its first channels on, upsampled bilinearly.

    add: add to the weights of these channels instead of replacing them.
    """
    for index in range(channels):
        for phase in range(factor * factor):
            row, column = divmod(phase, factor)
            kernel = torch.outer(_linear_taps(row, factor), _linear_taps(column, factor))
            weight = conv.weight[index * factor * factor + phase]
            if not add:
                weight.zero_()
            weight[index] += kernel
    conv.bias.zero_()


def _copy(ours: ConvWeights, theirs: ConvWeights) -> None:
    for parameter, value in zip(ours, theirs, strict=True):
        parameter.copy_(value)


def _linear_taps(phase: int, factor: int) -> Tensor:
    """Weights of the pixels at -1, 0, 1 for sub-pixel `phase` of `factor`."""
    offset = (phase + 0.5) / factor - 0.5
    return torch.tensor([max(0.0, -offset), 1 - abs(offset), max(0.0, offset)])
