"""The kernels of the Triton engine against torch's convs in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.backends.gpu.launch import (
    INTERPRETED,
    NARROW,
    WIDE,
    ConvConfig,
    Epilogue,
    add_scaled,
    attention_scale,
    conv_at,
    dense_conv,
    programs,
)
from adadsr.backends.gpu.lists import LaunchDomain, body_domains, sorted_lists
from adadsr.graph import Attention, ConvWeights, map_arrays
from adadsr.graph.depth import gate
from adadsr.tensor_ops import OPS
from gpu_samples import DEVICE, HALF, domain_of, exact, on_device, packed, plain_error, random_conv, random_images

SMALL = ConvConfig(32, 32, 16, 4, 2, 1, False)
"""Cuts even small images into several programs and steps."""


def run_conv(
    images: Tensor, conv: ConvWeights, domain: LaunchDomain, config: ConvConfig = SMALL, block: int = 0
) -> Tensor:
    """The kernel's result on top of zeros."""
    height, width = images.shape[2:]
    out = on_device(torch.zeros(len(images), len(conv.bias), height, width, dtype=images.dtype))
    conv_at(on_device(images), packed(conv), out, domain, block, config, Epilogue(), precision="ieee")
    return out.cpu()


@pytest.mark.parametrize("channels", [1, 3, 16, 17, 40])
def test_convs_of_every_channel_count(channels: int) -> None:
    for out in {1, channels, 35}:
        images, conv = random_images(channels, 1, channels, 5, 7), random_conv(channels, channels, out)
        result = run_conv(images, conv, LaunchDomain(5, 7, 1))
        assert (result - exact(images, conv)).abs().max() <= 2 * plain_error(images, conv) + 1e-6


@pytest.mark.parametrize("config", [NARROW[0], NARROW[2], WIDE[0]])
def test_the_configs_that_compete(config: ConvConfig) -> None:
    images, conv = random_images(1, 1, 70, 9, 20), random_conv(1, 70, 260 if config in WIDE else 70)
    result = run_conv(images, conv, LaunchDomain(9, 20, 4), config)
    assert (result - exact(images, conv)).abs().max() <= 2 * plain_error(images, conv) + 1e-6


@pytest.mark.parametrize("side", [1, 3, 4])
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=6)
def test_convs_of_every_size(side: int, seed: int, batch: int, height: int, width: int) -> None:
    images, conv = random_images(seed, batch, 5, height, width), random_conv(seed, 5, 6)
    result = run_conv(images, conv, LaunchDomain(height, width, side))
    assert (result - exact(images, conv)).abs().max() <= 2 * plain_error(images, conv) + 1e-6


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_adds_up_in_float32(dtype: torch.dtype) -> None:
    images, conv = random_images(2, 1, 48, 6, 5, dtype), random_conv(2, 48, 20, dtype)
    result = run_conv(images, conv, LaunchDomain(6, 5, 4))
    expected = exact(images, conv)
    # The interpreter cuts bfloat16 off instead of rounding it.
    steps = 1.0 if dtype == torch.bfloat16 and INTERPRETED else 0.5
    rounding = steps * torch.finfo(dtype).eps * expected.abs()
    assert ((result - expected).abs() <= rounding + 1e-4).all()


@pytest.mark.parametrize("side", [1, 4])
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 10),
    width=st.integers(1, 10),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
@settings(max_examples=8)
def test_lists_touch_what_they_name_and_nothing_else(
    side: int, seed: int, height: int, width: int, share: float
) -> None:
    images, conv = random_images(seed, 2, 5, height, width), random_conv(seed, 5, 6)
    shape = (2, 1, -(-height // side), -(-width // side))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    result = run_conv(images, conv, domain_of(mask.float(), 1, side, height, width))
    listed = OPS.expand_tiles(mask, side, height, width)
    assert not result[~listed.expand_as(result)].any()
    whole = run_conv(images, conv, LaunchDomain(height, width, side))
    # Which pixels share a product decides how the interpreter's BLAS rounds.
    torch.testing.assert_close(result, whole * listed, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("side", [1, 4])
def test_what_follows_a_conv(side: int, dense: bool) -> None:
    """ReLU as a mask, gates, addition. NaN stays NaN, and closed pixels next to it are left alone."""
    images, conv = random_images(3, 2, 8, 6, 7), random_conv(3, 8, 8)
    start = random_images(4, 2, 8, 6, 7)
    depth_map = torch.rand(2, 3, -(-6 // side), -(-7 // side), generator=torch.Generator().manual_seed(3)) * 3
    depth_map[0, 1].view(-1)[0] = 0
    images[0, :, 0, 0] = torch.inf
    domain, weight = domain_of(depth_map, 3, side, 6, 7, group=1), gate(depth_map[:, 1:2], 1)
    weight = OPS.expand_tiles(weight, side, 6, 7)
    plain = run_conv(images, conv, LaunchDomain(6, 7, side))

    def run(epilogue: Epilogue, out: Tensor) -> Tensor:
        out = on_device(out)
        if dense:
            dense_conv(on_device(images), packed(conv), out, domain, 1, epilogue)
        else:
            conv_at(on_device(images), packed(conv), out, domain, 1, SMALL, epilogue, precision="ieee")
        return out.cpu()

    for epilogue, out, expected in (
        (Epilogue(relu=True, gated=True), torch.zeros_like(start), F.relu(plain) * (weight > 0)),
        (Epilogue(gated=True, add=True), start, start + weight * plain),
    ):
        expected = torch.where(weight > 0, expected, out)
        torch.testing.assert_close(run(epilogue, out), expected, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("side", [1, 4])
def test_what_left_the_list_is_cleared(side: int) -> None:
    images, conv = random_images(5, 2, 4, 9, 10), random_conv(5, 4, 4)
    depth_map = torch.rand(2, 1, -(-9 // side), -(-10 // side), generator=torch.Generator().manual_seed(5)) * 3
    domain = domain_of(depth_map, 3, side, 9, 10)
    out = on_device(torch.full((2, 4, 9, 10), 7.0))
    conv_at(on_device(images), packed(conv), out, domain, 2, SMALL, Epilogue(clear=True), precision="ieee")
    depth, out = OPS.expand_tiles(depth_map, side, 9, 10).expand(-1, 4, -1, -1), out.cpu()
    assert (out[depth <= 1] == 7).all()
    assert (out[(depth > 1) & (depth <= 2)] == 0).all()
    whole = run_conv(images, conv, LaunchDomain(9, 10, side))
    torch.testing.assert_close(out[depth > 2], whole[depth > 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_sums_are_those_of_the_gated_features(dense: bool) -> None:
    images, conv = random_images(6, 2, 6, 9, 10), random_conv(6, 6, 6)
    depth_map = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(6)) * 2
    domain, out = domain_of(depth_map, 2, 4, 9, 10), on_device(torch.zeros(2, 6, 9, 10))
    parts = 3 if dense else programs(SMALL, out)
    sums = torch.full((2, parts, 6), torch.nan, device=DEVICE)
    run = (on_device(images), packed(conv), out, domain, 1)
    if dense:
        dense_conv(*run, Epilogue(gated=True), sums)
    else:
        conv_at(*run, SMALL, Epilogue(gated=True), precision="ieee", sums=sums)
    weight = OPS.expand_tiles(gate(depth_map, 1), 4, 9, 10)
    expected = (exact(images, conv) * weight).sum((2, 3))
    torch.testing.assert_close(sums.sum(1).cpu().double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("channels", "reduced"), [(3, 1), (64, 4), (70, 5)])
def test_the_attention(channels: int, reduced: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    sums = torch.randn(2, 300, channels, generator=generator)

    def conv(c_in: int, c_out: int) -> ConvWeights:
        weight = torch.randn(c_out, c_in, 1, 1, generator=generator)
        return ConvWeights(weight, torch.randn(c_out, generator=generator))

    attention = Attention(conv(channels, reduced), conv(reduced, channels))
    moved = map_arrays(attention, lambda tensor: tensor.to(DEVICE))
    scale = attention_scale(moved, sums.to(DEVICE), 77).cpu()
    torch.testing.assert_close(scale, attention.scale(OPS, sums.sum(1) / 77), rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [1, 4])
def test_adding_scaled_updates_at_a_list(side: int) -> None:
    z, update = (random_images(seed, 2, 5, 9, 10) for seed in (7, 8))
    scale = torch.rand(2, 5)
    mask = torch.rand(2, 1, -(-9 // side), -(-10 // side), generator=torch.Generator().manual_seed(7)) < 0.5
    moved = on_device(z)
    add_scaled(moved, on_device(update), scale.to(DEVICE), domain_of(mask.float(), 1, side, 9, 10), 0)
    expected = z + update * scale[..., None, None] * OPS.expand_tiles(mask, side, 9, 10)
    torch.testing.assert_close(moved.cpu(), expected, rtol=0, atol=1e-6)


@given(seed=st.integers(0, 2**31), n_blocks=st.integers(1, 40), height=st.integers(1, 12), width=st.integers(1, 12))
@settings(max_examples=50)
def test_one_sorted_list_serves_all_blocks(seed: int, n_blocks: int, height: int, width: int) -> None:
    depth_map = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * (n_blocks + 2) - 1
    lists = sorted_lists(depth_map.clamp_min(0).to(DEVICE), n_blocks)
    positions, counts = lists.positions.cpu(), lists.counts.cpu()
    assert positions.dtype == counts.dtype == torch.int32
    for block in range(n_blocks):
        for image in range(2):
            for group in range(3):
                listed = positions[image, group, : counts[image, group, block]].long()
                active = torch.nonzero(depth_map[image, group].flatten() > block).flatten()
                assert torch.equal(listed.sort().values, active)


@pytest.mark.parametrize("side", [1, 4])
def test_first_convs_run_where_second_ones_look(side: int) -> None:
    depth_map = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(9)) * 4
    first, second = body_domains(depth_map.to(DEVICE), side, 3, 5 * side, 6 * side)
    assert first.lists is not None
    assert second.lists is not None
    expected = depth_map if side > 1 else F.max_pool2d(depth_map, 3, 1, 1)
    for block in range(3):
        assert first.lists.counts[:, 0, block].tolist() == (expected > block).sum((1, 2, 3)).tolist()
        assert second.lists.counts[:, 0, block].tolist() == (depth_map > block).sum((1, 2, 3)).tolist()
    assert body_domains(None, side, 3, 5, 6) == (LaunchDomain(5, 6, side),) * 2
