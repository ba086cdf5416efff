"""The portable backend against the dense definition (`sparse.reference`)."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from adadsr.errors import BackendError
from adadsr.models import Network, NetworkConfig
from adadsr.sparse import gather
from adadsr.sparse.backends import BACKENDS, choose_backend
from adadsr.sparse.body import Body, body_macs
from adadsr.sparse.depth import conv_positions
from adadsr.sparse.gather import run_gather
from adadsr.sparse.reference import run_reference

KINDS = [("edsr", 1), ("edsr", 4), ("rcan", 1), ("rcan", 4)]
BLOCKS = 3


def build_body(backbone: str, depth_tile: int, n_feats: int = 8) -> Body:
    torch.manual_seed(0)
    n_groups = 2 if backbone == "rcan" else 1
    config = NetworkConfig(backbone, 2, n_feats, BLOCKS, n_groups, adaptive=True, depth_tile=depth_tile)
    return Network(config).requires_grad_(False).body.tensors()


def to_double(body):
    """The same tensors, in a body or any other tuple, in float64."""

    def double(part: object) -> object:
        if isinstance(part, torch.Tensor):
            return part.double()
        if isinstance(part, tuple):
            parts = [double(item) for item in part]
            return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
        return part

    return double(copy.copy(body))


def sample(body: Body, seed: int, batch: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features and a random depth map with shallow, deep and inactive regions."""
    generator = torch.Generator().manual_seed(seed)
    tile, channels = body.depth_tile, len(body.conv.bias)
    z0 = torch.randn(batch, channels, height, width, generator=generator)
    shape = (batch, len(body.groups), -(-height // tile), -(-width // tile))
    depth_map = (torch.rand(shape, generator=generator) * (BLOCKS + 2) - 1).clamp_min(0)
    return z0, depth_map


def assert_as_exact_as_dense(
    body: Body, z0: torch.Tensor, depth_map: torch.Tensor | None, name: str = "torch", factor: int = 2
) -> None:
    """Error of a backend against float64 at most `factor` times that of the dense float32 definition."""
    depth = None if depth_map is None else depth_map.double()
    exact = run_reference(to_double(body), z0.double(), depth)
    dense = (run_reference(body, z0, depth_map) - exact).abs().max()
    run = choose_backend(name, z0.device).run(body, z0, depth_map)
    assert (run.z - exact).abs().max() <= factor * dense + 1e-6


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3), height=st.integers(1, 14), width=st.integers(1, 14))
def test_equals_the_definition(backbone: str, depth_tile: int, seed: int, batch: int, height: int, width: int) -> None:
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, seed, batch, height, width)
    assert_as_exact_as_dense(body, z0, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_equals_the_definition_in_several_chunks(
    backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "CHUNK_PIXELS", 32)
    body = build_body(backbone, depth_tile)
    assert_as_exact_as_dense(body, *sample(body, 5, 2, 17, 19))


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_full_depth_is_the_plain_body(backbone: str, depth_tile: int) -> None:
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, 1, 2, 9, 10)
    assert_as_exact_as_dense(body, z0, None)
    everywhere = run_gather(body, z0, torch.full_like(depth_map, BLOCKS)).z
    torch.testing.assert_close(everywhere, run_gather(body, z0).z, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_nothing_active_gives_the_skip_path(depth_tile: int) -> None:
    body = build_body("edsr", depth_tile)
    z0, depth_map = sample(body, 2, 1, 9, 10)
    expected = F.conv2d(z0, body.conv.weight, body.conv.bias, padding=1) + z0
    run = run_gather(body, z0, torch.zeros_like(depth_map))
    torch.testing.assert_close(run.z, expected, rtol=0, atol=1e-6)
    assert run.macs == 9 * 10 * body.conv.weight.numel()


def test_a_rectangle_of_pixels_runs_as_a_dense_conv_with_the_same_result() -> None:
    body = build_body("edsr", 1)
    z0, depth_map = sample(body, 3, 1, 12, 13)
    depth_map.zero_()
    depth_map[..., 2:7, 0:9] = 2.5
    assert_as_exact_as_dense(body, z0, depth_map)
    assert run_gather(body, z0, depth_map).macs == body_macs(body, depth_map, 1, 12, 13)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 14), width=st.integers(1, 14))
def test_inactive_positions_are_never_computed(
    backbone: str, depth_tile: int, seed: int, height: int, width: int
) -> None:
    """torch's own count of what ran equals the sizes of the active sets."""
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, seed, 2, height, width)
    in_place = {torch.ops.aten.addmm_: lambda out, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        run = run_gather(body, z0, depth_map)
    assert counter.get_total_flops() == 2 * run.macs == 2 * body_macs(body, depth_map, 2, height, width)


def test_the_count_is_of_positions_times_weights() -> None:
    body = build_body("edsr", 1)
    z0, depth_map = sample(body, 4, 1, 11, 8)
    positions = conv_positions(depth_map, 1, BLOCKS, 11, 8)
    assert run_gather(body, z0, depth_map).macs == (positions + 11 * 8) * 9 * 8 * 8


def test_untouched_pixels_keep_their_features() -> None:
    body = build_body("edsr", 1)
    z0, depth_map = sample(body, 6, 1, 16, 16)
    depth_map[..., :8] = 0
    closing = body.conv._replace(weight=torch.zeros_like(body.conv.weight), bias=torch.zeros_like(body.conv.bias))
    z = run_gather(body._replace(conv=closing), z0, depth_map).z
    assert torch.equal(z[..., :8], z0[..., :8])


CPU_BACKENDS = [name for name, backend in BACKENDS.items() if backend.missing(torch.device("cpu")) is None]


@pytest.mark.parametrize("name", CPU_BACKENDS)
@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_every_backend_equals_the_definition(name: str, backbone: str, depth_tile: int) -> None:
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, 7, 1, 10, 13)
    # Winograd's algorithm, which native runs on tiles, trades some digits for speed.
    assert_as_exact_as_dense(body, z0, depth_map, name, factor=10 if name == "native" else 2)


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match="backend 'cuda' is not one of native, torch, triton, dense"):
        choose_backend("cuda", torch.device("cpu"))
