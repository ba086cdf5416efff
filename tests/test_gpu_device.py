"""The Triton engine on a device: `pytest -m gpu`. The other tests of the GPU engine need none."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from adadsr.backends import prepare
from adadsr.backends.gpu.body import TritonBody
from adadsr.backends.gpu.engine import TritonEngine
from adadsr.geometry import Box
from adadsr.graph import NetworkWeights
from adadsr.networks import NetworkConfig
from adadsr.tensor_ops import OPS
from gpu_samples import DEVICE, HALF, UNTIMED, no_waiting
from graph_samples import RESIDUAL_KINDS, depth_map_of, lr_images, network_of, tensors, z0_of

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from gpu_forward import Captured, Forward
from networks import as_tensors

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")]
MASKS = 200


def build(backbone: str, depth_tile: int, n_feats: int = 64, n_resblocks: int = 4) -> NetworkWeights:
    groups = 2 if backbone == "rcan" else 1
    return network_of(NetworkConfig(backbone, 2, n_feats, n_resblocks, groups, adaptive=True, depth_tile=depth_tile))


@pytest.mark.parametrize(("backbone", "depth_tile"), RESIDUAL_KINDS)
def test_random_masks(backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Error against float64 at most twice that of the dense float32 computation without tf32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    network = build(backbone, depth_tile)
    body, exact_body = (tensors(network.body, dtype, "cuda") for dtype in (torch.float32, torch.float64))
    ours, rng = TritonBody(body, UNTIMED, "ieee"), np.random.default_rng(0)
    for seed in range(MASKS // len(RESIDUAL_KINDS)):
        size = tuple(int(rng.integers(1, most)) for most in (4, 70, 70))
        z0, depths = (tensors(make(network, seed, *size), device="cuda") for make in (z0_of, depth_map_of))
        exact = exact_body.run(OPS, z0.double(), depths.double())
        dense = (body.run(OPS, z0, depths) - exact).abs().max()
        z = ours.run(z0, depths, ours.sparse_plan)
        assert (z - exact).abs().max() <= 2 * dense + 1e-6, (seed, size)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("channels", [64, 256, 40])
@pytest.mark.parametrize("depth_tile", [1, 4])
def test_half_precision_under_the_measured_plan(depth_tile: int, channels: int, dtype: torch.dtype) -> None:
    network = build("edsr", depth_tile, channels)
    z0, depth_map = z0_of(network, 1, 2, 120, 131), depth_map_of(network, 1, 2, 120, 131)
    exact_z0, depths = tensors(z0, torch.float64, "cuda"), tensors(depth_map, device="cuda")
    exact = tensors(network.body, torch.float64, "cuda").run(OPS, exact_z0, depths.double())
    body, features = (tensors(part, dtype, "cuda") for part in (network.body, z0))
    dense = (body.run(OPS, features, depths) - exact).abs().max()
    ours = TritonBody(body)
    z = ours.run(features, depths, ours.plan(features, depth_map))
    assert (z - exact).abs().max() <= 2 * dense


@pytest.mark.parametrize(("backbone", "depth_tile"), RESIDUAL_KINDS)
def test_a_whole_forward_is_recorded_as_a_graph(backbone: str, depth_tile: int) -> None:
    """Replays follow the image and the depth that they are given; nothing in between waits for the device."""
    network = as_tensors(build(backbone, depth_tile), DEVICE, torch.float32)
    body = TritonBody(network.body, UNTIMED)
    forward = Forward(network, lambda z0, depth_map: body.run(z0, depth_map, body.sparse_plan))
    images = [torch.rand(2, 3, 50, 61, device=DEVICE) * 255 for _ in range(3)]
    depths = [torch.full((2,), depth, device=DEVICE) for depth in (1.0, 2.5, 4.0)]
    with torch.inference_mode():
        forward(images[0], depths[0])
        with no_waiting():
            expected = [forward(lr, depth).clone() for lr, depth in zip(images, depths, strict=True)]
    captured = Captured(forward, images[0], depths[0])
    for lr, depth, result in zip(images, depths, expected, strict=True):
        torch.testing.assert_close(captured(lr, depth), result, rtol=0, atol=0)


@pytest.mark.parametrize("backbone", ["edsr", "rcan"])
@pytest.mark.parametrize("depth_tile", [1, 4])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_stays_within_its_footprint(precision: str, depth_tile: int, backbone: str) -> None:
    """The features, the hidden ones, the result, and the lists: no copy of neighbourhoods."""
    network = build(backbone, depth_tile, 256 if backbone == "edsr" else 64)
    engine, lr = prepare(network, "triton", "cuda", precision), lr_images(1, 1, 512, 512)
    depth_map, box = depth_map_of(network, 1, 1, 512, 512), Box(0, 0, 64, 512)
    engine.tail(engine.body(engine.features(lr), depth_map), box)  # measures and compiles
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine.tail(engine.body(engine.features(lr), depth_map), box)
    assert torch.cuda.max_memory_allocated() - before <= engine.footprint(512, 512)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_an_engine_on_the_device(precision: str) -> None:
    network, lr = build("edsr", 4), lr_images(2, 1, 90, 77)
    depth_map, box = depth_map_of(network, 2, 1, 90, 77), Box(0, 0, 90, 77)
    plain, ours = prepare(network, "torch", "cuda"), prepare(network, "triton", "cuda", precision)
    assert isinstance(ours, TritonEngine)
    assert ours.free_bytes() == pytest.approx(torch.cuda.mem_get_info()[0], rel=0.1)
    expected, z = (engine.body(engine.features(lr), depth_map) for engine in (plain, ours))
    assert z.macs == expected.macs
    error = (ours.tail(z, box) - plain.tail(expected, box)).abs().mean()
    assert error < 0.002 * plain.tail(expected, box).abs().max()
