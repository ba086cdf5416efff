"""The Triton engine on a device: `pytest -m gpu`. What needs none is in test_triton.py and test_triton_kernels.py."""

import pytest
import torch

from adadsr.models import Network, NetworkConfig
from adadsr.models.forward import Forward
from adadsr.sparse.body import in_type
from adadsr.sparse.graph import Captured
from adadsr.sparse.reference import run_reference
from adadsr.sparse.triton import TritonBody
from adadsr.sparse.tuning import Tuner
from test_gather import KINDS, sample, to_double
from triton_samples import DEVICE, HALF, no_waiting

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")]
UNTIMED: Tuner = Tuner(None)
MASKS = 200


def build(backbone: str, depth_tile: int, n_feats: int = 64, n_resblocks: int = 4) -> Network:
    torch.manual_seed(0)
    groups = 2 if backbone == "rcan" else 1
    config = NetworkConfig(backbone, 2, n_feats, n_resblocks, groups, adaptive=True, depth_tile=depth_tile)
    return Network(config).requires_grad_(False).eval().to(DEVICE).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_random_masks(backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Error against float64 at most twice that of the dense float32 computation without tf32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    body = build(backbone, depth_tile).body.tensors()
    ours, exact_body = TritonBody(body, UNTIMED, "ieee"), to_double(body)
    generator = torch.Generator().manual_seed(0)
    for seed in range(MASKS // len(KINDS)):
        batch, height, width = (int(torch.randint(1, most, (), generator=generator)) for most in (4, 70, 70))
        z0, depth_map = (part.to(DEVICE) for part in sample(body, seed, batch, height, width))
        exact = run_reference(exact_body, z0.double(), depth_map.double())
        dense = (run_reference(body, z0, depth_map) - exact).abs().max()
        z = ours.run(z0, depth_map, ours.sparse_plan)
        assert (z - exact).abs().max() <= 2 * dense + 1e-6, (seed, batch, height, width)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("channels", [64, 256, 40])
@pytest.mark.parametrize("depth_tile", [1, 4])
def test_half_precision_under_the_measured_choice(depth_tile: int, channels: int, dtype: torch.dtype) -> None:
    body = build("edsr", depth_tile, channels).body.tensors()
    z0, depth_map = (part.to(DEVICE) for part in sample(body, 1, 2, 120, 131))
    exact = run_reference(to_double(body), z0.double(), depth_map.double())
    dense = (run_reference(in_type(body, dtype), z0.to(dtype), depth_map.to(dtype)) - exact).abs().max()
    z = TritonBody(in_type(body, dtype))(z0.to(dtype), depth_map).z
    assert (z - exact).abs().max() <= 2 * dense


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_a_whole_forward_is_recorded_as_a_graph(backbone: str, depth_tile: int) -> None:
    """Replays follow the image and the depth that they are given; nothing in between waits for the device."""
    network = build(backbone, depth_tile)
    body = TritonBody(network.body.tensors(), UNTIMED)
    forward = Forward(network, lambda z0, depth_map: body.run(z0, depth_map, body.sparse_plan))
    images = [torch.rand(2, 3, 50, 61, device=DEVICE) * 255 for _ in range(3)]
    depths = [torch.full((2,), depth, device=DEVICE) for depth in (1.0, 2.5, 4.0)]
    forward(images[0], depths[0])
    with no_waiting(), torch.inference_mode():
        expected = [forward(lr, depth).clone() for lr, depth in zip(images, depths, strict=True)]
    captured = Captured(forward, images[0], depths[0])
    for lr, depth, result in zip(images, depths, expected, strict=True):
        torch.testing.assert_close(captured(lr, depth), result, rtol=0, atol=0)


def test_memory_of_a_forward() -> None:
    """The features, the hidden ones, the result, and the lists: no copy of neighbourhoods."""
    body = in_type(build("edsr", 4, 256).body.tensors(), torch.float16)
    ours = TritonBody(body, UNTIMED)
    z0, depth_map = (part.to(DEVICE) for part in sample(body, 1, 1, 512, 512))
    z0 = z0.half().contiguous(memory_format=torch.channels_last)
    ours.run(z0, depth_map, ours.sparse_plan)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ours.run(z0, depth_map, ours.sparse_plan)
    assert torch.cuda.max_memory_allocated() - before <= 4.5 * z0.nbytes


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_an_upscaler_on_the_device(precision: str) -> None:
    pytest.importorskip("pyvips")
    from adadsr import Upscaler

    network, image = build("edsr", 4), torch.rand(3, 90, 77) * 255
    plain = Upscaler(network, device=DEVICE, backend="torch")(image, depth=2.0)
    ours = Upscaler(network, device=DEVICE, backend="triton", precision=precision)(image, depth=2.0)
    assert ours.report.backend == "triton"
    assert ours.report.executed_gmacs == plain.report.executed_gmacs
    assert (ours.image - plain.image).abs().mean() < 0.5
