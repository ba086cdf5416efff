"""Training in bfloat16 keeps the gradient of float32; autocast over the whole network loses it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adadsr.checkpoints import load_model
from adadsr.datasets import PatchSampler, TrainingImages, load_pairs
from adadsr.networks import Network, NetworkConfig
from adadsr.training.convs import NativeConvs, TorchConvs
from adadsr.training.depths import AdapterDepths
from adadsr.training.forward import TrainingForward, crop_border
from training_samples import trains_in_bfloat16


def gradient(network: torch.nn.Module, sr: Tensor, hr: Tensor) -> Tensor:
    """The gradient of the L1 loss in all weights, as one vector."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad((sr.float() - hr).abs().mean(), parameters, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def native_bfloat16() -> NativeConvs:
    """Skips the test where the native engine does not multiply bfloat16."""
    if not trains_in_bfloat16():
        pytest.skip("needs the native engine and AMX")
    return NativeConvs(bfloat16=True)


@pytest.mark.parametrize("make_convs", [TorchConvs, native_bfloat16])
def test_the_gradient_in_bfloat16_is_close_to_that_of_float32(make_convs: Callable[[], TorchConvs]) -> None:
    (pair,) = load_pairs(Path(__file__).parents[1] / "assets", 2)
    network, desired = Network.of(load_model("adaedsr-baseline-x2")), torch.tensor([16.0, 6.0])
    images = TrainingImages([pair], 2, torch.device("cpu"))
    lr, hr = PatchSampler(images, 32, torch.Generator().manual_seed(0)).batch(2)[:2]
    hr, depths = crop_border(hr, 2), AdapterDepths(desired)
    exact = gradient(network, TrainingForward(network, bfloat16=False)(lr, depths).sr, hr)
    convs = make_convs()
    in_half = TrainingForward(network, bfloat16=not convs.casts, convs=convs)
    half = gradient(network, in_half(lr, depths).sr, hr)
    with torch.autocast("cpu", torch.bfloat16):
        everywhere = crop_border(network(lr, desired).sr, 2)
    errors = [(found - exact).norm() / exact.norm() for found in (half, gradient(network, everywhere, hr))]
    assert errors[0] < 0.25
    assert errors[1] > 4 * errors[0]


def test_the_tail_of_an_esrgan_in_bfloat16_keeps_the_gradient() -> None:
    """Its last conv runs in float32: no pixel is rounded to 8 bits."""
    network = Network(NetworkConfig("esrgan", 4, 16, 2, growth=8), torch.Generator().manual_seed(0))
    lr = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255
    with torch.no_grad():
        hr = crop_border(network(lr).sr, 4) + torch.randn(2, 3, 58, 58, generator=torch.Generator().manual_seed(2))
    exact, half = (TrainingForward(network, bfloat16=on)(lr).sr for on in (False, True))
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 1
    gradients = [gradient(network, sr, hr) for sr in (exact, half)]
    assert (gradients[1] - gradients[0]).norm() < 0.5 * gradients[0].norm()
