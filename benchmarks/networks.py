"""Networks to be timed: what they compute does not matter, only that it stays finite."""

import torch

from adadsr.models import Network, NetworkConfig


def random_network(config: NetworkConfig) -> Network:
    """A network with small random updates, so that features neither grow nor vanish over its depth."""
    torch.manual_seed(0)
    network = Network(config).eval().requires_grad_(False)
    for name, value in network.body.named_parameters():
        if "conv2" in name:
            value.mul_(0.1)
    return network
