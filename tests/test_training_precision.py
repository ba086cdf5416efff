"""Training in bfloat16 keeps the gradient of float32, which autocast over the whole network loses."""

from pathlib import Path

import torch
from torch import Tensor

from adadsr.checkpoints import load_model
from adadsr.datasets import PatchSampler, TrainingImages, load_pairs
from adadsr.training.folded_tail import inside
from adadsr.training.forward import Forward


def gradient(network: torch.nn.Module, sr: Tensor, hr: Tensor) -> Tensor:
    """The gradient of the L1 loss in all weights, as one vector."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad((sr.float() - hr).abs().mean(), parameters, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def test_the_gradient_in_bfloat16_is_close_to_that_of_float32() -> None:
    (pair,) = load_pairs(Path(__file__).parents[1] / "assets", 2)
    network, depth = load_model("adaedsr-baseline-x2"), torch.tensor([16.0, 6.0])
    images = TrainingImages([pair], 2, torch.device("cpu"))
    lr, hr = PatchSampler(images, 32, torch.Generator().manual_seed(0)).batch(2)
    hr = inside(hr)
    exact = gradient(network, Forward(network, bfloat16=False)(lr, depth).sr, hr)
    half = gradient(network, Forward(network, bfloat16=True)(lr, depth).sr, hr)
    with torch.autocast("cpu", torch.bfloat16):
        everywhere = inside(network(lr, depth).sr)
    errors = [(found - exact).norm() / exact.norm() for found in (half, gradient(network, everywhere, hr))]
    assert errors[0] < 0.25
    assert errors[1] > 4 * errors[0]
