"""The portable body, `run_gather`, against the definition `BodyWeights.run`; test_backbones.py has other blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from adadsr.backends.portable import gather
from adadsr.backends.portable.gather import GatherRun, run_gather
from adadsr.graph import BodyWeights
from adadsr.graph.price import body_macs
from graph_samples import (
    BLOCKS,
    KINDS,
    OTHER_KINDS,
    Array32,
    assert_as_exact_as_dense,
    build,
    depth_map_of,
    tensors,
    z0_of,
)

sizes = st.integers(1, 14)


def run(body: BodyWeights, z0: Array32, depth_map: Array32 | None) -> GatherRun:
    return run_gather(tensors(body), tensors(z0), None if depth_map is None else tensors(depth_map))


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3), height=sizes, width=sizes)
def test_equals_the_definition(backbone: str, depth_tile: int, seed: int, batch: int, height: int, width: int) -> None:
    network = build(backbone, depth_tile)
    z0, depth_map = (make(network, seed, batch, height, width) for make in (z0_of, depth_map_of))
    assert_as_exact_as_dense(run(network.body, z0, depth_map).z, network.body, z0, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_equals_the_definition_in_several_chunks(
    backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "CHUNK_PIXELS", 32)
    network = build(backbone, depth_tile)
    z0, depth_map = z0_of(network, 5, 2, 17, 19), depth_map_of(network, 5, 2, 17, 19)
    assert_as_exact_as_dense(run(network.body, z0, depth_map).z, network.body, z0, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])
def test_full_depth_is_the_plain_body(backbone: str, depth_tile: int) -> None:
    network = build(backbone, depth_tile)
    z0 = z0_of(network, 1, 2, 9, 10)
    plain = run(network.body, z0, None).z
    assert_as_exact_as_dense(plain, network.body, z0, None)
    for depth in (BLOCKS, BLOCKS + 7.5):
        everywhere = np.full((2, *network.map_shape(9, 10)), depth, np.float32)
        torch.testing.assert_close(run(network.body, z0, everywhere).z, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_nothing_active_gives_the_skip_path(depth_tile: int) -> None:
    network = build("edsr", depth_tile)
    z0, closing = z0_of(network, 2, 1, 9, 10), tensors(network.body.conv)
    result = run(network.body, z0, np.zeros((1, *network.map_shape(9, 10)), np.float32))
    expected = F.conv2d(tensors(z0), closing.weight, closing.bias, padding=1) + tensors(z0)
    torch.testing.assert_close(result.z, expected, rtol=0, atol=1e-5)
    assert result.macs == 9 * 10 * closing.macs


def test_a_rectangle_of_pixels_runs_as_a_dense_conv_with_the_same_result() -> None:
    network = build("edsr", 1)
    z0, depth_map = z0_of(network, 3, 1, 12, 13), np.zeros((1, 1, 12, 13), np.float32)
    depth_map[..., 2:7, 0:9] = 2.5
    result = run(network.body, z0, depth_map)
    assert_as_exact_as_dense(result.z, network.body, z0, depth_map)
    assert result.macs == body_macs(network.body, 12, 13, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), height=sizes, width=sizes)
def test_inactive_positions_are_never_computed(
    backbone: str, depth_tile: int, seed: int, height: int, width: int
) -> None:
    """torch's own count of what ran is the price."""
    network = build(backbone, depth_tile)
    z0, depth_map = (make(network, seed, 2, height, width) for make in (z0_of, depth_map_of))
    in_place = {torch.ops.aten.addmm_: lambda out, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        result = run(network.body, z0, depth_map)
    assert counter.get_total_flops() == 2 * result.macs == 2 * body_macs(network.body, height, width, depth_map)


def test_untouched_pixels_keep_their_features() -> None:
    network = build("edsr", 1)
    body = network.body._replace(conv=None)
    z0, depth_map = z0_of(network, 6, 1, 16, 16), depth_map_of(network, 6, 1, 16, 16)
    depth_map[..., :8] = 0
    result = run(body, z0, depth_map)
    np.testing.assert_array_equal(result.z[..., :8], z0[..., :8])
    assert_as_exact_as_dense(result.z, body, z0, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), [*KINDS, *OTHER_KINDS])
def test_progress_grows_to_all_blocks_that_run(backbone: str, depth_tile: int) -> None:
    network, seen = build(backbone, depth_tile), list[float]()
    z0 = tensors(z0_of(network, 7, 1, 8, 9))
    run_gather(tensors(network.body), z0, None, seen.append)
    blocks = len(network.body.blocks)
    assert seen == [(done + 1) / blocks for done in range(blocks)]


def test_a_tile_mask_zeroes_the_hidden_features_outside_it() -> None:
    """The second conv of a tile sees none of the features that the first conv makes in inactive tiles."""
    network = build("edsr", 4)
    body = network.body._replace(conv=None).shallow(1)
    z0 = z0_of(network, 8, 2, 12, 8)
    depths = np.array([[0.0, 2.0], [0.4, 0.0], [1.0, 0.0]], np.float32)
    block, z = tensors(body.blocks[0]), tensors(z0)
    weight = torch.from_numpy(depths.clip(0, 1).repeat(4, 0).repeat(4, 1))
    hidden = torch.relu(F.conv2d(z, *block.conv1, padding=1))
    masked = z + weight * F.conv2d(hidden * (weight > 0), *block.conv2, padding=1)
    result = run(body, z0, np.broadcast_to(depths, (2, 1, 3, 2)).copy()).z
    torch.testing.assert_close(result, masked, rtol=0, atol=1e-5)
    assert torch.equal(result.masked_select(weight == 0), z.masked_select(weight == 0))
    unmasked = z + weight * F.conv2d(hidden, *block.conv2, padding=1)
    assert (result - unmasked).abs().max() > 1e-3  # the two definitions differ along the borders of tiles
