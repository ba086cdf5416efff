"""The networks of ESRGAN and Compact against their publications, written here a second time with plain convs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.backends import BACKENDS, prepare
from adadsr.errors import BackendError
from adadsr.geometry import Box
from adadsr.graph import ConvWeights, NetworkWeights, ResidualBlock
from adadsr.graph.depth import expand_tiles, gate
from adadsr.tensor_ops import OPS
from graph_samples import BLOCKS, KINDS, OTHER_KINDS, config_of, depth_map_of, lr_images, network_of, tensors


def conv(x: Tensor, weights: ConvWeights) -> Tensor:
    return F.conv2d(x, weights.weight, weights.bias, padding=1)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def nearest(x: Tensor, factor: int) -> Tensor:
    return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def dense_block(x: Tensor, convs: tuple[ConvWeights, ...], mask: Tensor) -> Tensor:
    """ResidualDenseBlock_5C of ESRGAN's code; the outputs of its convs count as zero where the mask is."""
    x1 = mask * lrelu(conv(x, convs[0]))
    x2 = mask * lrelu(conv(torch.cat((x, x1), 1), convs[1]))
    x3 = mask * lrelu(conv(torch.cat((x, x1, x2), 1), convs[2]))
    x4 = mask * lrelu(conv(torch.cat((x, x1, x2, x3), 1), convs[3]))
    return x + mask * 0.2 * conv(torch.cat((x, x1, x2, x3, x4), 1), convs[4])


def esrgan(network: NetworkWeights, lr: Tensor, gates: list[Tensor]) -> Tensor:
    """RRDBNet, on 0..255. gates: of each block, (N, 1, H, W). Blocks are masked with one depth per tile."""
    first = conv(lr / 255, network.head.conv)
    z = first
    for block, weight in zip(network.body.blocks, gates, strict=True):
        update, mask = z, (weight > 0) * 1.0 if network.depth_tile > 1 else torch.ones_like(weight)
        for chain in block.chains:  # type: ignore[attr-defined]
            update = dense_block(update, chain, mask)
        z = z + weight * 0.2 * update
    assert network.body.conv is not None
    z = first + conv(z, network.body.conv)
    tail = network.tail
    for up, factor in zip(tail.convs, tail.factors, strict=True):  # type: ignore[attr-defined]
        z = lrelu(conv(nearest(z, factor), up))
    return 255 * conv(lrelu(conv(z, tail.hidden)), tail.last)  # type: ignore[attr-defined]


def compact(network: NetworkWeights, lr: Tensor, gates: list[Tensor]) -> Tensor:
    """SRVGGNetCompact, on 0..255. gates: of each conv of its body but the first, (N, 1, H, W)."""

    def prelu(x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x > 0, x, slope[:, None, None] * x)

    z = prelu(conv(lr / 255, network.head.conv), network.head.slope)
    for block, weight in zip(network.body.blocks, gates, strict=True):
        z = (1 - weight) * z + weight * prelu(conv(z, block.conv), block.slope)  # type: ignore[attr-defined]
    tail = network.tail
    return 255 * (F.pixel_shuffle(conv(z, tail.conv), tail.scale) + nearest(lr / 255, tail.scale))  # type: ignore[attr-defined]


PUBLISHED = {"esrgan": esrgan, "compact": compact}
others = pytest.mark.parametrize("backbone", PUBLISHED)
kinds = pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])


def with_tiles(network: NetworkWeights, depth_tile: int) -> NetworkWeights:
    return network._replace(body=network.body._replace(depth_tile=depth_tile))


@others
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("depth_tile", [1, 4])
@settings(max_examples=3)
@given(
    seed=st.integers(0, 2**31), batch=st.integers(1, 2), height=st.integers(1, 9), width=st.integers(1, 9),
    full=st.booleans(),
)  # fmt: skip
def test_the_portable_engine_runs_the_published_network(
    backbone: str, scale: int, depth_tile: int, seed: int, batch: int, height: int, width: int, full: bool
) -> None:
    """Error against float64 at most twice that of the published network in float32."""
    network = with_tiles(network_of(config_of(backbone, scale=scale)), depth_tile)
    lr = lr_images(seed, batch, height, width)
    depth_map = None if full else depth_map_of(network, seed, batch, height, width)
    if depth_map is None:
        gates = [np.ones((batch, 1, height, width), np.float32)] * BLOCKS
    else:
        gates = [expand_tiles(gate(depth_map, number), depth_tile, height, width) for number in range(BLOCKS)]

    def published(dtype: torch.dtype) -> Tensor:
        images = tensors(lr, dtype).permute(0, 3, 1, 2)
        return PUBLISHED[backbone](tensors(network, dtype), images, [tensors(each, dtype) for each in gates])

    engine = prepare(network, "torch")
    sr = engine.tail(engine.body(engine.features(lr), depth_map), Box(0, 0, height, width)).permute(0, 3, 1, 2)
    exact = published(torch.float64)
    assert sr.shape == exact.shape == (batch, 3, scale * height, scale * width)
    assert (sr - exact).abs().max() <= 2 * (published(torch.float32) - exact).abs().max() + 1e-4


@others
def test_a_gate_of_0_passes_the_input_and_a_gate_of_1_runs_the_block(backbone: str) -> None:
    network = network_of(config_of(backbone))
    block = tensors(network.body.blocks[0])
    x = torch.randn(2, network.channels, 6, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block.run(OPS, x, torch.zeros(2, 1, 6, 7)), x)
    torch.testing.assert_close(block.run(OPS, x, torch.ones(2, 1, 6, 7)), block.run(OPS, x), rtol=0, atol=1e-6)


def looks_at(run, height: int, width: int, channels: int) -> int:  # type: ignore[no-untyped-def]
    """How far from the middle a change of one pixel is felt. run: (1, C, H, W) float64 -> the same height and width."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)
    changed = x.clone()
    changed[..., height // 2, width // 2] += 1
    rows, columns = torch.nonzero((run(changed) - run(x)).abs().amax((0, 1)), as_tuple=True)
    return int(max((rows - height // 2).abs().max(), (columns - width // 2).abs().max()))


@kinds
def test_a_block_looks_as_far_as_it_says(backbone: str, depth_tile: int) -> None:
    network = network_of(config_of(backbone, depth_tile))
    block = tensors(network.body.blocks[0], torch.float64)
    if isinstance(block, ResidualBlock):
        block = block._replace(attention=None)  # which looks everywhere
    expected = {"esrgan": 15, "compact": 1}.get(backbone, 2)
    assert network.body.blocks[0].reach == expected
    assert looks_at(lambda x: block.run(OPS, x), 35, 37, network.channels) == expected


@kinds
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_tail_looks_as_far_as_it_says(backbone: str, depth_tile: int, scale: int) -> None:
    network = network_of(config_of(backbone, depth_tile, scale=scale))
    tail = tensors(network.tail, torch.float64)
    image = torch.zeros(1, 3, 15, 15, dtype=torch.float64)

    def in_lr(z: Tensor) -> Tensor:
        """The SR pixels of each LR pixel as its channels."""
        return F.pixel_unshuffle(tail.run(OPS, z, image), scale)

    assert looks_at(in_lr, 15, 15, network.channels) == tail.reach


@kinds
def test_a_window_with_context_gives_what_the_whole_image_gives(backbone: str, depth_tile: int) -> None:
    network = network_of(config_of(backbone, depth_tile))
    if not network.body.is_local:
        assert network.context == 32
        return
    margin = -(-network.context // depth_tile) * depth_tile
    inner, size = Box(margin, margin, margin + 3, margin + 2), 2 * margin + 8
    weights = tensors(network, torch.float64)
    lr = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 255
    window = inner.grown(margin, Box(0, 0, size, size))
    part = weights.run(OPS, window.of(lr))
    whole = weights.run(OPS, lr)
    expected = inner.scaled(network.scale).of(whole)
    torch.testing.assert_close(inner.relative_to(window).scaled(network.scale).of(part), expected, rtol=0, atol=1e-9)


@pytest.mark.skipif(BACKENDS["triton"].missing("cpu") is not None, reason="triton is not installed, or runs on a GPU")
@others
def test_engines_that_cannot_run_them_say_so(backbone: str) -> None:
    with pytest.raises(BackendError, match="the triton engine runs"):
        prepare(network_of(config_of(backbone)), "triton")
