"""The last two convs of a tail as one: between them lies only PixelShuffle, so together they are a linear map.

Each LR pixel becomes factor x factor SR pixels that depend on 5x5 pixels around it: 25 * C * 3 * factor^2
multiply-accumulates instead of 9 * C * (C + 3) * factor^2. At the border the last conv sees zeros where there is no
pixel, and not what the conv before it would give there. So a pixel at the border has weights of its own.
"""

import torch
from torch import Tensor

from adadsr.sparse.body import Conv, Tail
from adadsr.sparse.reference import run_tail

SIDE = 5
PLACES = ((3, 0), (5, 2), (3, 2), (1, 0))
"""Pixels along an axis of which one is at the first place, between others, at the last place, alone; and which one."""


def fold_tail(tail: Tail) -> list[Conv]:
    """The 5x5 convs of a tail of two convs: for each of `PLACES` of a row those for each of `PLACES` of a column.

    Outputs are ordered as PixelShuffle takes them: [channel][row][column].
    """
    with torch.inference_mode(False):  # gradients need tensors of the other kind
        doubled = Tail(tuple(_double(conv) for conv in tail.convs), tail.factors, _double(tail.last))
    return [_fold_at(doubled, row, column) for row in PLACES for column in PLACES]


def _double(conv: Conv) -> Conv:
    return Conv(conv.weight.detach().double(), conv.bias.detach().double())


def _fold_at(tail: Tail, rows: tuple[int, int], columns: tuple[int, int]) -> Conv:
    """The weights that the tail's definition has for a pixel, which are the gradient of what it becomes."""
    (height, row), (width, column) = rows, columns
    (factor,) = tail.factors
    outputs = len(tail.last.bias) * factor**2
    with torch.inference_mode(False), torch.enable_grad():
        z = torch.zeros(outputs, tail.last.weight.shape[1], height, width, dtype=torch.float64, requires_grad=True)
        sr = run_tail(tail, z)[:, :, row * factor :, column * factor :][:, :, :factor, :factor]
        sr = sr.reshape(outputs, outputs)
        (gradient,) = torch.autograd.grad(sr.diagonal().sum(), z)
    weight = gradient.new_zeros(*gradient.shape[:2], SIDE, SIDE)
    top, left = SIDE // 2 - row, SIDE // 2 - column
    weight[:, :, top : top + height, left : left + width] = gradient
    return Conv(_single(weight), _single(sr[0]))


def _single(values: Tensor) -> Tensor:
    return values.detach().float().contiguous()
