"""How far the weights of each tensor move the output, and learning rates that even this out.

Adam moves every weight by about the learning rate, whatever follows from it. In an EDSR whose features are large,
random steps of the tail's last conv change SR a hundred times as much as those of any conv of the body, so a rate that
this conv bears is far too low for the rest.
"""

import torch
from torch import Tensor

from adadsr.networks import Network
from adadsr.training.forward import TrainingForward

CHANGE = 3e-4
"""Standard deviation of the random change of a tensor's weights that is tried."""
BEARABLE = 0.01
"""Levels of 0..255, RMS, by which such a change may move SR; a tensor that moves it further learns at a lower rate."""
PATCHES = 6
"""LR patches on which it is tried."""


@torch.no_grad()
def rate_factors(network: Network, lr: Tensor) -> dict[str, float]:
    """Factors of the learning rate, in (0, 1], by the names of a network's parameters.

    Two digits of each are kept, so they rarely differ between machines; a run keeps its own (`Trainer.state`).
    lr: (N, 3, H, W) in 0..255, on the network's device, of which the first PATCHES are used.
    """
    forward, random = TrainingForward(network, bfloat16=False), torch.Generator().manual_seed(0)
    seen = lr[:PATCHES]
    before = forward(seen).sr
    factors = {}
    for name, parameter in network.named_parameters():
        kept = parameter.clone()
        parameter.add_(CHANGE * torch.randn(parameter.shape, generator=random).to(parameter.device))
        moved = (forward(seen).sr - before).square().mean().sqrt().item()
        parameter.copy_(kept)
        factors[name] = 1.0 if moved <= BEARABLE else float(f"{BEARABLE / moved:.1e}")
    return factors
