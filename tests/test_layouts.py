"""Configurations, and which tensors a network has."""

import math

import numpy as np
import pytest

from adadsr.errors import InputError
from adadsr.graph import NetworkWeights, ResidualBlock
from adadsr.networks import BACKBONES, CONFIGS, Network, NetworkConfig, assemble, layouts, named_config, tensor_shapes
from graph_samples import KINDS, OTHER_KINDS, config_of, network_of

PARAMETERS = {
    # What EDSR-PyTorch, RCAN and BasicSR report; the first two count 24 more for their mean shifts, which are fixed.
    ("edsr", 2): 40_729_603,
    ("edsr", 3): 43_680_003,
    ("edsr", 4): 43_089_923,
    ("edsr-baseline", 2): 1_369_859,
    ("edsr-baseline", 3): 1_554_499,
    ("edsr-baseline", 4): 1_517_571,
    ("rcan", 2): 15_444_667 - 24,
    ("rcan", 3): 15_629_307 - 24,
    ("rcan", 4): 15_592_379 - 24,
    # Real-ESRGAN's RRDBNet of 23 and 6 blocks, and SRVGGNetCompact of 16 convs.
    ("esrgan", 4): 16_697_987,
    ("esrgan-anime", 4): 4_467_779,
    ("compact", 4): 621_424,
}


@pytest.mark.parametrize(("name", "scale"), PARAMETERS, ids=str)
def test_parameter_counts_are_those_of_the_literature(name: str, scale: int) -> None:
    shapes = tensor_shapes(named_config(name, scale))
    assert sum(math.prod(shape) for shape in shapes.values()) == PARAMETERS[name, scale]


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("ada")])
def test_an_adaptive_network_is_the_plain_one_and_an_adapter(name: str) -> None:
    shapes, plain = tensor_shapes(named_config(name, 2)), tensor_shapes(named_config(name.removeprefix("ada"), 2))
    assert {key: shape for key, shape in shapes.items() if not key.startswith("adapter.")} == plain
    assert len(shapes) > len(plain)


@pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])
def test_a_network_takes_each_of_its_tensors_once(backbone: str, depth_tile: int) -> None:
    config, taken = config_of(backbone, depth_tile), list[str]()

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        taken.append(name)
        return np.zeros(shape, np.float32)

    network = assemble(config, take)
    assert taken == list(tensor_shapes(config))
    assert len(taken) == len(set(taken))
    assert (network.adapter is not None) == config.adaptive
    assert network.channels == config.n_feats
    assert (network.scale, network.depth_tile) == (config.scale, config.depth_tile)
    assert (network.n_groups, network.n_blocks) == (config.n_groups, config.n_resblocks)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(config).items()}
    assert assemble(config, tensors).head.conv.weight is tensors["head.conv.weight"]


def test_shapes_of_a_small_compact_network() -> None:
    shapes = tensor_shapes(NetworkConfig("compact", 3, n_feats=6, n_resblocks=1))
    assert shapes == {
        "head.conv.weight": (6, 3, 3, 3),
        "head.conv.bias": (6,),
        "head.slope": (6,),
        "body.blocks.0.conv.weight": (6, 6, 3, 3),
        "body.blocks.0.conv.bias": (6,),
        "body.blocks.0.slope": (6,),
        "tail.conv.weight": (27, 6, 3, 3),
        "tail.conv.bias": (27,),
    }


@pytest.mark.parametrize(
    ("backbone", "is_local", "context", "margin"),
    # Head, blocks of 2, 15 and 1 pixels, closing conv, and the tail's convs at two sizes.
    [("edsr", True, 1 + 3 * 2 + 1 + 2, 3), ("esrgan", True, 1 + 3 * 15 + 1 + 2, 3), ("compact", True, 1 + 3 + 1, 1)],
)
def test_how_far_a_pixel_looks(backbone: str, is_local: bool, context: int, margin: int) -> None:
    network = network_of(config_of(backbone))
    assert (network.body.is_local, network.context, network.margin) == (is_local, context, margin)
    assert not network_of(config_of("rcan")).body.is_local
    attention = network_of(config_of("rcan")).body.blocks[0]
    assert isinstance(attention, ResidualBlock)
    assert attention.image_macs == 2 * 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": 5}, "scale=5 is not one of 2, 3, 4"),
        ({"scale": 2.0}, r"scale=2\.0 must be of type"),
        ({"adaptive": 1}, "adaptive=1 must be of type"),
        ({"depth_tile": 4}, "depth_tile=4 needs an adaptive network; pass adaptive=True"),
        ({"adaptive": True, "depth_tile": 3}, "depth_tile=3 is not one of 1, 4"),
        ({"n_feats": 1}, "n_feats=1, n_resblocks=16, n_groups=1"),
        ({"n_resblocks": 0}, "n_resblocks=0"),
        ({"n_groups": -1}, "n_groups=-1"),
        ({"growth": -1}, "growth=-1"),
    ],
)
def test_configurations_check_themselves(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NetworkConfig(**{"backbone": "edsr", "scale": 2, **values})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig("srcnn", 2), f"backbone='srcnn' is not one of {', '.join(BACKBONES)}"),
        (NetworkConfig("edsr", 2, n_groups=2), "n_groups=2, growth=0: edsr has one group and no growth"),
        (NetworkConfig("rcan", 2, growth=3), "growth=3: rcan has no growth"),
        (NetworkConfig("esrgan", 4), "n_groups=1, growth=0: esrgan has one group and a growth"),
        (
            NetworkConfig("esrgan", 4, growth=32, adaptive=True),
            "depth_tile=1: an adaptive esrgan has one depth per tile",
        ),
        (NetworkConfig("compact", 2, unshuffle=2), "unshuffle=2: compact sees single pixels"),
        (NetworkConfig("edsr", 4, unshuffle=4), "unshuffle=4: edsr sees single pixels"),
        (NetworkConfig("compact", 4, n_groups=2), "n_groups=2, growth=0: compact has no adapter"),
    ],
    ids=str,
)
def test_networks_that_do_not_exist_are_refused(config: NetworkConfig, message: str) -> None:
    for make in (tensor_shapes, lambda config: assemble(config, {})):
        with pytest.raises(InputError, match=message):
            make(config)


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match="network 'edsr-huge' is not one of edsr, edsr-baseline, rcan"):
        named_config("edsr-huge", 2)
    with pytest.raises(InputError, match="depth_tile=4 needs an adaptive network"):
        named_config("edsr", 2, depth_tile=4)


def test_a_tensor_without_initial_values_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new backbone may have one that is neither of a conv nor a slope."""

    def scaled(config: NetworkConfig, take: layouts.Take) -> NetworkWeights:
        take("body.scale", (config.n_feats,))
        return BACKBONES["edsr"].assemble(config, take)

    monkeypatch.setitem(BACKBONES, "scaled", layouts.Backbone(scaled, lambda config: None))
    with pytest.raises(NotImplementedError, match=r"body\.scale: no initial values are defined for .* shape \(8,\)"):
        Network(NetworkConfig("scaled", 2, 8, 2))
