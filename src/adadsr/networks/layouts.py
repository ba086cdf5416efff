"""From named arrays to a network's weights: the tensors of every backbone and their roles.

A backbone is one function and one row of `BACKBONES`. The function requests each tensor by name and shape, so the same
code lists the tensors of a checkpoint, assembles numpy arrays from a file, and uses the parameters of a torch module.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from adadsr.errors import InputError
from adadsr.graph import (
    AdapterWeights,
    Array,
    Attention,
    BodyWeights,
    ConvWeights,
    GroupWeights,
    HeadWeights,
    NearestTail,
    NetworkWeights,
    PlainBlock,
    PReLUConv,
    ResidualBlock,
    ResidualDenseBlock,
    ResidualTail,
    ShuffleTail,
)
from adadsr.networks.config import SCALES_OF, NetworkConfig

RGB_MEAN = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)
"""Mean colour of DIV2K in 0..255."""
REDUCTION = 16
"""RCAN's channel attention reduces the channels by this factor."""
DENSE_CHAINS, DENSE_CONVS = 3, 5
"""Chains per ESRGAN block, and convs per chain."""

Shape: TypeAlias = tuple[int, ...]
Take: TypeAlias = Callable[[str, Shape], Array]
"""Returns the tensor with a name, which must have the given shape."""


class Backbone(NamedTuple):
    """A kind of network. assemble: weights from tensors. check: raises InputError for an invalid configuration."""

    assemble: Callable[[NetworkConfig, Take], NetworkWeights]
    check: Callable[[NetworkConfig], None]


def assemble(config: NetworkConfig, tensors: Mapping[str, Array] | Take) -> NetworkWeights:
    """Weights of a network from its tensors by name, or from a function that returns them.

    Raises InputError for an unknown backbone or an invalid configuration.
    """
    if config.backbone not in BACKBONES:
        raise InputError(f"backbone={config.backbone!r} is not one of {', '.join(BACKBONES)}")
    backbone = BACKBONES[config.backbone]
    backbone.check(config)
    return backbone.assemble(config, tensors if callable(tensors) else lambda name, shape: tensors[name])


class _Shaped(NamedTuple):
    """Stand-in for an array of which only the shape is known."""

    shape: Shape

    def __len__(self) -> int:
        return self.shape[0]


def tensor_shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Name -> shape of every tensor of a network; errors as in `assemble`."""
    shapes: dict[str, Shape] = {}

    def record(name: str, shape: Shape) -> _Shaped:
        shapes[name] = shape
        return _Shaped(shape)

    assemble(config, record)
    return shapes


def _conv(take: Take, name: str, in_channels: int, out_channels: int, side: int = 3) -> ConvWeights:
    weight = take(f"{name}.weight", (out_channels, in_channels, side, side))
    return ConvWeights(weight, take(f"{name}.bias", (out_channels,)))


def _edsr(config: NetworkConfig, take: Take) -> NetworkWeights:
    """EDSR ("Enhanced Deep Residual Networks for Single Image Super-Resolution", arXiv:1707.02921)."""
    c = config.n_feats
    head = HeadWeights(_conv(take, "head.conv", 3, c), RGB_MEAN)
    adapter = _adapter(config, take, width=c // 2, output_times_depth=True)
    blocks = tuple(_residual_block(take, f"body.blocks.{number}", c) for number in range(config.n_resblocks))
    body = BodyWeights((GroupWeights(blocks),), _conv(take, "body.conv", c, c), config.depth_tile)
    return NetworkWeights(config.kind, head, adapter, body, _shuffle_tail(config, take))


def _rcan(config: NetworkConfig, take: Take) -> NetworkWeights:
    """RCAN ("Image Super-Resolution Using Very Deep Residual Channel Attention Networks", arXiv:1807.02758)."""
    c = config.n_feats
    head = HeadWeights(_conv(take, "head.conv", 3, c), RGB_MEAN)
    adapter = _adapter(config, take, width=c, input_times_depth=True)
    groups = tuple(_residual_group(config, take, f"body.groups.{index}") for index in range(config.n_groups))
    body = BodyWeights(groups, _conv(take, "body.conv", c, c), config.depth_tile)
    return NetworkWeights(config.kind, head, adapter, body, _shuffle_tail(config, take))


def _residual_group(config: NetworkConfig, take: Take, name: str) -> GroupWeights:
    c, reduced = config.n_feats, max(1, config.n_feats // REDUCTION)
    blocks = []
    for number in range(config.n_resblocks):
        attention = Attention(
            _conv(take, f"{name}.blocks.{number}.attention.squeeze", c, reduced, 1),
            _conv(take, f"{name}.blocks.{number}.attention.excite", reduced, c, 1),
        )
        blocks.append(_residual_block(take, f"{name}.blocks.{number}", c, attention))
    return GroupWeights(tuple(blocks), _conv(take, f"{name}.conv", c, c))


def _residual_block(take: Take, name: str, c: int, attention: Attention | None = None) -> ResidualBlock:
    return ResidualBlock(_conv(take, f"{name}.conv1", c, c), _conv(take, f"{name}.conv2", c, c), attention)


def _adapter(
    config: NetworkConfig,
    take: Take,
    width: int,
    *,
    input_times_depth: bool = False,
    output_times_depth: bool = False,
) -> AdapterWeights | None:
    """The adapter: our own for tiles, otherwise the published one with its `width` and use of the desired depth.

    Published (arXiv:2004.03915, section 3.2): five 3x3 convs, PReLU before the second to the fifth. For tiles: a
    strided conv that sees each tile whole, then four 3x3 convs at tile resolution, which predict the tile's error after
    each number of blocks (docs/algorithm.md).
    """
    if not config.adaptive:
        return None
    c, tile = config.n_feats, config.depth_tile
    if tile > 1:
        first = _conv(take, "adapter.embed", c, c, tile)
        return AdapterWeights(first, _prelu_convs(take, c, c // 2, config.n_resblocks + 1), tile)
    first = _conv(take, "adapter.first", c, width)
    rest = _prelu_convs(take, width, width, config.n_groups)
    return AdapterWeights(first, rest, 1, input_times_depth, output_times_depth)


def _prelu_convs(take: Take, in_channels: int, width: int, n_scores: int) -> tuple[PReLUConv, ...]:
    channels = [in_channels, width, width, width, n_scores]
    return tuple(
        PReLUConv(
            take(f"adapter.rest.{number}.activation.weight", (1,)), _conv(take, f"adapter.rest.{number}.conv", *pair)
        )
        for number, pair in enumerate(pairwise(channels))
    )


def _shuffle_tail(config: NetworkConfig, take: Take) -> ShuffleTail:
    c, factors = config.n_feats, upscale_factors(config.scale)
    convs = tuple(_conv(take, f"tail.upsample.{i}", c, factor**2 * c) for i, factor in enumerate(factors))
    return ShuffleTail(convs, factors, _conv(take, "tail.conv", c, 3))


def upscale_factors(scale: int) -> tuple[int, ...]:
    """Factors of the upsampling convs, in their order."""
    return {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]


def _esrgan(config: NetworkConfig, take: Take) -> NetworkWeights:
    """RRDBNet of ESRGAN (arXiv:1809.00219) and Real-ESRGAN: images in 0..1, no mean colour.

    The adapter is our own. Depth has one value per 4x4 tile: single pixels would leave nothing out.
    """
    c = config.n_feats
    head = HeadWeights(_conv(take, "head.conv", 3 * config.unshuffle**2, c), range=1.0)
    adapter = _adapter(config, take, width=c)
    blocks = tuple(
        ResidualDenseBlock(
            tuple(_dense_chain(config, take, f"body.blocks.{number}.{chain}") for chain in range(DENSE_CHAINS))
        )
        for number in range(config.n_resblocks)
    )
    closing = _conv(take, "body.conv", c, c)
    exits = tuple(_conv(take, f"body.exits.{n}", c, c) for n in range(config.n_resblocks)) if config.exits else ()
    body = BodyWeights((GroupWeights(blocks),), closing, config.depth_tile, exits)
    factors = upscale_factors(config.tail_scale)
    convs = tuple(_conv(take, f"tail.upsample.{index}", c, c) for index in range(len(factors)))
    tail = NearestTail(convs, factors, _conv(take, "tail.hidden", c, c), _conv(take, "tail.conv", c, 3))
    return NetworkWeights(config.kind, head, adapter, body, tail)


def _dense_chain(config: NetworkConfig, take: Take, name: str) -> tuple[ConvWeights, ...]:
    c, growth = config.n_feats, config.growth
    outputs = [growth] * (DENSE_CONVS - 1) + [c]
    return tuple(_conv(take, f"{name}.conv{i + 1}", c + i * growth, out) for i, out in enumerate(outputs))


def _compact(config: NetworkConfig, take: Take) -> NetworkWeights:
    """SRVGGNetCompact of Real-ESRGAN: a plain sequence of convs on images in 0..1, added to the upsampled input."""
    c = config.n_feats
    head = HeadWeights(_conv(take, "head.conv", 3, c), range=1.0, slope=take("head.slope", (c,)))
    blocks = tuple(
        PlainBlock(_conv(take, f"body.blocks.{number}.conv", c, c), take(f"body.blocks.{number}.slope", (c,)))
        for number in range(config.n_resblocks)
    )
    body = BodyWeights((GroupWeights(blocks),), None, config.depth_tile)
    tail = ResidualTail(_conv(take, "tail.conv", c, 3 * config.scale**2), config.scale)
    return NetworkWeights(config.kind, head, None, body, tail)


def _check_edsr(config: NetworkConfig) -> None:
    if config.n_groups != 1 or config.growth:
        raise InputError(f"n_groups={config.n_groups}, growth={config.growth}: edsr has one group and no growth")
    _check_sees_pixels(config)


def _check_rcan(config: NetworkConfig) -> None:
    if config.growth:
        raise InputError(f"growth={config.growth}: rcan has no growth")
    _check_sees_pixels(config)


def _check_esrgan(config: NetworkConfig) -> None:
    if config.n_groups != 1 or config.growth < 1:
        raise InputError(
            f"n_groups={config.n_groups}, growth={config.growth}: esrgan has one group and a growth of at least 1"
        )
    if config.tail_scale not in SCALES_OF["esrgan"]:
        raise InputError(
            f"scale={config.scale}, unshuffle={config.unshuffle}: their product, by which features grow, has to "
            f"be one of {', '.join(map(str, SCALES_OF['esrgan']))}"
        )
    if config.adaptive and config.depth_tile == 1:
        raise InputError("depth_tile=1: an adaptive esrgan has one depth per tile; pass depth_tile=4")


def _check_compact(config: NetworkConfig) -> None:
    if config.adaptive or config.n_groups != 1 or config.growth:
        raise InputError(
            f"adaptive={config.adaptive}, n_groups={config.n_groups}, growth={config.growth}: compact has no adapter, "
            "one group and no growth"
        )
    _check_sees_pixels(config)


def _check_sees_pixels(config: NetworkConfig) -> None:
    if config.unshuffle != 1:
        raise InputError(f"unshuffle={config.unshuffle}: {config.backbone} sees single pixels; leave it out")


BACKBONES = {
    "edsr": Backbone(_edsr, _check_edsr),
    "rcan": Backbone(_rcan, _check_rcan),
    "esrgan": Backbone(_esrgan, _check_esrgan),
    "compact": Backbone(_compact, _check_compact),
}
"""Name -> kind of network."""
