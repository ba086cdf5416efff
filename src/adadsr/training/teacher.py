"""A network, or LIIF, whose output at full depth is a target next to the HR image."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.networks import Network
from adadsr.training.convs import TorchConvs
from adadsr.training.forward import TrainingForward, make_forward
from adadsr.training.liif import Liif, is_liif
from adadsr.training.precision import fastest_precision
from adadsr.training.recipe import Recipe, Stage


@dataclass(frozen=True)
class Teacher:
    """A teacher on a device.

    upscale: LR image (3, H, W) in 0..255 and a box in it -> SR of the box, (3, s*h, s*w) float32. forward: runs it on
    patches in every step, at full depth; None if it is too slow for that. digest: hash of its weights. square: side of
    the squares of LR pixels that it works on.
    """

    upscale: Callable[[Tensor, Box], Tensor]
    forward: TrainingForward | None
    digest: str
    square: int = 1

    @torch.no_grad()
    def target(self, lr: Tensor) -> Tensor:
        """LR patches (N, 3, H, W) -> SR in 0..255 without its border, like that of the student's forward pass."""
        assert self.forward is not None  # load_teacher refuses stages that would need it
        sr: Tensor = self.forward(lr).sr
        return sr


def load_teacher(recipe: Recipe, stage: Stage, device: torch.device, convs: TorchConvs | None = None) -> Teacher | None:
    """The teacher of a stage, or None if it has none.

    convs: what runs its convs in every step, torch's by default. Raises InputError for a teacher that the stage cannot
    use, and CheckpointError, which names the file, for one that is corrupt.
    """
    if not stage.teacher:
        return None
    if is_liif(Path(stage.teacher)):
        if not stage.teacher_megapixels:
            raise InputError(f"teacher={stage.teacher}: LIIF is too slow for every step; add teacher_megapixels: 4")
        bfloat16 = fastest_precision(device) == "bfloat16"  # up to four times as fast, and errs far less than students
        liif = Liif.from_file(Path(stage.teacher), device, bfloat16=bfloat16)
        return Teacher(partial(liif.upscale, recipe.scale), None, _digest(liif.tensors))
    model = checkpoints.load_model(stage.teacher)
    if model.config.scale != recipe.scale:
        given, wanted = model.config.scale, recipe.scale
        remedy = f"use a teacher of x{wanted}, or set scale: {given}"
        raise InputError(f"teacher={stage.teacher} is x{given}, the recipe x{wanted}; {remedy}")
    check_patch(stage, model.config.unshuffle)
    network = Network.of(model).requires_grad_(False)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = make_forward(network, recipe, convs)
    return Teacher(partial(_upscale, network), forward, _digest(network.state_dict()), model.config.unshuffle)


def check_patch(stage: Stage, square: int) -> None:
    """Raise InputError if a teacher, which works on squares of LR pixels, cannot run on a stage's patches."""
    if stage.patch % square and not stage.teacher_megapixels:
        raise InputError(
            f"teacher={stage.teacher} works on {square}x{square} squares of pixels; "
            f"use a patch that is a multiple of {square}"
        )


@torch.inference_mode()
def _upscale(network: Network, lr: Tensor, box: Box) -> Tensor:
    """`Teacher.upscale` of a network at full depth. LR is padded to whole squares of `unshuffle` pixels."""
    down, right = (-side % network.config.unshuffle for side in lr.shape[1:])
    sr: Tensor = network(F.pad(lr[None].float(), (0, right, 0, down), mode="replicate")).sr[0]
    part: Tensor = box.scaled(network.config.scale).of(sr)
    return part


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of tensors and their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
