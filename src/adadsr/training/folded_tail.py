"""The tail as training runs it: its last two convs as one, with the same weights and their gradients.

Between the two lies only PixelShuffle, so together they are one 5x5 conv: with 64 features an eighth of the
multiply-accumulates. The case between borders of `sparse.tail_folding`, differentiable.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.models.layers import Tail, rgb_mean
from adadsr.sparse.body import Conv
from adadsr.sparse.reference import conv

BORDER = 1
"""SR pixels along the border that differ from the definition: there its last conv sees zeros beyond the image."""


def inside(sr: Tensor) -> Tensor:
    """An SR image without its outermost BORDER pixels; (..., H, W)."""
    return sr[..., BORDER:-BORDER, BORDER:-BORDER]


def run_folded(tail: Tail, z: Tensor) -> Tensor:
    """`Tail.forward` but for the outermost BORDER pixels; z (N, C, H, W) -> (N, 3, s*H, s*W). Differentiable."""
    tensors = tail.tensors()
    for weights, factor in zip(tensors.convs[:-1], tensors.factors[:-1], strict=True):
        z = F.pixel_shuffle(conv(z, weights), factor)
    folded, factor = fold(tensors.convs[-1], tensors.factors[-1], tensors.last), tensors.factors[-1]
    return F.pixel_shuffle(F.conv2d(z, folded.weight, folded.bias, padding=2), factor) + rgb_mean(z)


def fold(up: Conv, factor: int, last: Conv) -> Conv:
    """The 5x5 conv that is `up`, PixelShuffle(factor) and `last` one after the other, before a PixelShuffle(factor).

    up: (factor^2 * C, C, 3, 3). last: (O, C, 3, 3). Returns (O * factor^2, C, 5, 5): the answer to a single one at the
    middle of 5x5 pixels, seen from each pixel that hears it.
    """
    impulses = F.pixel_shuffle(up.weight.flip(-2, -1).transpose(0, 1), factor)
    answers = F.conv2d(impulses, last.weight, padding=factor + 1)
    weight = F.pixel_unshuffle(answers, factor).flip(-2, -1).transpose(0, 1)
    flat = F.pixel_shuffle(up.bias[None, :, None, None].expand(-1, -1, 3, 3), factor)
    bias = F.conv2d(flat, last.weight, last.bias, padding=1)[..., factor : 2 * factor, factor : 2 * factor]
    return Conv(weight.contiguous(memory_format=torch.channels_last), F.pixel_unshuffle(bias, factor).flatten())
