"""A network whose output at full depth is a target beside the HR image."""

from typing import NamedTuple

import torch
from torch import Tensor

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.training.forward import Forward, make_forward
from adadsr.training.recipe import Recipe, Stage


class Teacher(NamedTuple):
    """forward: runs it, at full depth. weight: how much of the loss it makes up, in (0, 1]."""

    forward: Forward
    weight: float

    @torch.no_grad()
    def target(self, lr: Tensor) -> Tensor:
        """LR patches (N, 3, H, W) -> SR in 0..255 units without the border, as the student's `Forward` gives it."""
        sr: Tensor = self.forward(lr).sr
        return sr


def load_teacher(recipe: Recipe, stage: Stage, device: torch.device) -> Teacher | None:
    """The teacher of a stage, None where it has none. Raises InputError for one of another scale."""
    if not stage.teacher:
        return None
    network = checkpoints.load_model(stage.teacher, device=device)
    if network.config.scale != recipe.scale:
        raise InputError(f"teacher={stage.teacher}: enlarges x{network.config.scale}, the recipe x{recipe.scale}")
    network.requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Teacher(make_forward(network, recipe), stage.teacher_weight)
