"""Published parts that our networks do not have as layers, folded into the convolutions beside them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adadsr.checkpoints.namings import MeanShift
from adadsr.errors import CheckpointError
from adadsr.models.layers import RGB_MEAN

SAME = 1e-4
"""Mean shifts that differ by less, in 0..255 units and in weights, count as the built-in one: float32 rounding."""
LARGEST_SHIFT = 16.0
"""Largest difference of means that is folded, in 0..255 units; beyond it the network was trained on another range."""


def fold_res_scale(weights: dict[str, Tensor], res_scale: float) -> str:
    """Scale the second conv of every block in place, x + r * conv(h) = x + (r * conv)(h); returns a note."""
    if res_scale != 1:
        for name in weights:
            if name.startswith("body.blocks.") and ".conv2." in name:
                weights[name] = weights[name] * res_scale
    return f"residual scale {res_scale:g} (not stored in the file; pass --res-scale X if the network used another)"


def fold_mean_shift(
    path: Path, shift: MeanShift, tensors: Mapping[str, Tensor], weights: dict[str, Tensor]
) -> list[str]:
    """Fold what the file's mean shifts do beyond the built-in ones into head and tail, in place; returns notes.

    Some training programs let these layers be trained, others use the mean of another data set. With input W x + b
    for our x - m, the head sees W (x - m) + (W m + b): its weights take W, its bias the constant. The tail's part is
    exact. In the head the constant is exact inside; on the outermost pixels, where the head's zero padding meets it,
    the result differs a little. A difference beyond LARGEST_SHIFT raises CheckpointError.
    """
    mean = torch.tensor(RGB_MEAN)
    before, after = _matrix(tensors, shift.subtract), _matrix(tensors, shift.add)
    constant = before @ mean + tensors[f"{shift.subtract}.bias"]
    rest = tensors[f"{shift.add}.bias"] - mean
    size = float(torch.cat((constant, rest)).abs().max())
    if size > LARGEST_SHIFT:
        raise CheckpointError(
            f"{path}: {shift.subtract} and {shift.add} differ from the mean of 0..255 images by {size:.1f}, more than "
            f"{LARGEST_SHIFT:g}; only networks trained on the range 0..255 can be converted"
        )
    turn = max(float((matrix - torch.eye(3)).abs().max()) for matrix in (before, after))
    if size <= SAME and turn <= SAME:
        return []
    head, tail = weights["head.conv.weight"], weights["tail.conv.weight"]
    weights["head.conv.bias"] = weights["head.conv.bias"] + head.sum(dim=(2, 3)) @ constant
    weights["head.conv.weight"] = torch.einsum("oihw,ij->ojhw", head, before).contiguous()
    weights["tail.conv.weight"] = torch.einsum("ij,jchw->ichw", after, tail).contiguous()
    weights["tail.conv.bias"] = after @ weights["tail.conv.bias"] + rest
    return [
        f"mean shift differs from the built-in one by up to {size:.3g} of 255: folded into head and tail; "
        "the outermost pixels may differ slightly from the original network's"
    ]


def _matrix(tensors: Mapping[str, Tensor], layer: str) -> Tensor:
    """The 3x3 colour matrix of a 1x1 conv, full or depthwise."""
    weight = tensors[f"{layer}.weight"]
    return torch.diag(weight.flatten()) if weight.shape[1] == 1 else weight[:, :, 0, 0]
