"""Which convs the native engine can run, and their weights as it packs them."""

import torch
from torch import Tensor

from adadsr.errors import BackendError
from adadsr.sparse.body import Conv


def to_pack(conv: Conv, name: str, side: int = 3) -> tuple[Tensor, Tensor]:
    """Weight (out, in, side, side) and bias (out,) of a conv, without gradients and contiguous.

    name: of the conv, for the error. Raises BackendError for another window, for weights that are not float32 and for
    weights that are not on the CPU.
    """
    weight = conv.weight
    if weight.shape[2:] != (side, side) or weight.dtype != torch.float32 or weight.device.type != "cpu":
        raise BackendError(
            f"{name} has weights {tuple(weight.shape)} of {weight.dtype} on {weight.device}; the native engine needs "
            f"(out, in, {side}, {side}) of float32 on the CPU"
        )
    return weight.detach().contiguous(), conv.bias.detach().contiguous()
