"""What an adaptive stage trains at: the desired depth of each image, or one depth everywhere."""

import torch
from torch import Tensor

from adadsr.training.recipe import Stage


def desired_depths(stage: Stage, n_blocks: int, generator: torch.Generator) -> Tensor:
    """A desired depth for each image of a batch, (stage.batch,), in blocks, on the CPU."""
    # Patches are drawn at random, so which of them come first says nothing.
    if stage.shared_depth > 1:
        share = torch.empty(stage.batch // stage.shared_depth, 1).uniform_(stage.least_share, 1.0, generator=generator)
        share = share.repeat(1, stage.shared_depth)
        share[:, : stage.full_of_shared] = 1.0
        return share.flatten() * n_blocks
    share = torch.empty(stage.batch).uniform_(stage.least_share, 1.0, generator=generator)
    full = torch.rand(stage.batch, generator=generator) < stage.full_share
    return share.masked_fill_(full, 1.0) * n_blocks


def uniform_depth(stage: Stage, n_blocks: int, generator: torch.Generator) -> int | None:
    """The number of blocks that a step runs everywhere, 1 to `n_blocks`; None for a step that asks the adapter."""
    # Two draws whatever they say, so that the patches of a run do not depend on them.
    chance = float(torch.rand((), generator=generator))
    blocks = int(torch.randint(1, n_blocks + 1, (), generator=generator))
    return blocks if chance < stage.uniform_share else None
