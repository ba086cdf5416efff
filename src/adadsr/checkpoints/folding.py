"""Parts of published networks that ours lack as layers, folded into the adjacent convolutions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adadsr.checkpoints.namings import MeanShift
from adadsr.checkpoints.tensors import Tensors
from adadsr.errors import CheckpointError
from adadsr.networks.layouts import RGB_MEAN

SAME = 1e-4
"""Mean shifts that differ by less, in 0..255 units and in weights, count as the built-in one (float32 rounding)."""
LARGEST_SHIFT = 16.0
"""Largest difference of means that is folded, in 0..255 units; beyond it the network was trained for another range."""


def fold_res_scale(weights: Tensors, res_scale: float) -> str:
    """Scale the second conv of every block in place: x + r * conv(h) = x + (r * conv)(h). Returns a note."""
    if res_scale != 1:
        for name in weights:
            if name.startswith("body.blocks.") and ".conv2." in name:
                weights[name] = weights[name] * np.float32(res_scale)
    return f"residual scale {res_scale:g} (assumed; pass --res-scale X if the network used another)"


def fold_mean_shift(
    path: Path, shift: MeanShift, tensors: Mapping[str, npt.NDArray[np.float32]], weights: Tensors
) -> list[str]:
    """Fold the difference between the file's mean shifts and the built-in ones into head and tail, in place.

    Some training programs train these layers, others use the mean of another data set. With input W x + b instead of
    our x - m, the head sees W (x - m) + (W m + b): its weights absorb W, its bias the constant. This is exact in the
    tail and inside the image; on border pixels, where the head pads with zeros, the result differs slightly. Returns
    notes. Raises CheckpointError for a difference beyond LARGEST_SHIFT.
    """
    mean = np.array(RGB_MEAN, np.float32)
    before, after = _matrix(tensors, shift.subtract), _matrix(tensors, shift.add)
    constant = before @ mean + tensors[f"{shift.subtract}.bias"]
    rest = tensors[f"{shift.add}.bias"] - mean
    size = float(np.abs(np.concatenate((constant, rest))).max())
    if size > LARGEST_SHIFT:
        raise CheckpointError(
            f"{path}: {shift.subtract} and {shift.add} differ from the mean of 0..255 images by {size:.1f}, more than "
            f"{LARGEST_SHIFT:g}; only networks trained on the range 0..255 can be converted"
        )
    turn = max(float(np.abs(matrix - np.eye(3)).max()) for matrix in (before, after))
    if size <= SAME and turn <= SAME:
        return []
    head, tail = weights["head.conv.weight"], weights["tail.conv.weight"]
    weights["head.conv.bias"] = weights["head.conv.bias"] + head.sum(axis=(2, 3)) @ constant
    weights["head.conv.weight"] = np.einsum("oihw,ij->ojhw", head, before)
    weights["tail.conv.weight"] = np.einsum("ij,jchw->ichw", after, tail)
    weights["tail.conv.bias"] = after @ weights["tail.conv.bias"] + rest
    return [
        f"mean shift differs from the built-in one by up to {size:.3g}/255 and was folded into head and tail; "
        "border pixels may differ slightly from the original network"
    ]


def _matrix(tensors: Mapping[str, npt.NDArray[np.float32]], layer: str) -> npt.NDArray[np.float32]:
    """The 3x3 colour matrix of a 1x1 conv, full or depthwise."""
    weight = tensors[f"{layer}.weight"]
    return np.diag(weight.ravel()) if weight.shape[1] == 1 else weight[:, :, 0, 0]
