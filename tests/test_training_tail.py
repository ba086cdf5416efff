"""The folded tail of training equals the definition inside the border, and so do its gradients."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adadsr.backends.tail_folding import EDGE_CASES, fold_between, fold_tail
from adadsr.graph import ShuffleTail, map_arrays
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS
from adadsr.training.forward import crop_border, fold, run_folded


def tail_of(scale: int) -> ShuffleTail:
    """x6 is none of a network: its two factors differ."""
    if scale != 6:
        return Network(NetworkConfig("edsr", scale, 6, 1), torch.Generator().manual_seed(0)).double().weights().tail
    (first,), _, last = tail_of(2)
    (second,), _, _ = tail_of(3)
    return ShuffleTail((first, second), (2, 3), last)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (7, 6)])
@pytest.mark.parametrize("scale", [2, 3, 4, 6])
def test_folded_is_the_definition_inside_the_border(scale, size):
    torch.manual_seed(0)
    tail = tail_of(scale)
    z = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    results = [crop_border(sr, scale) for sr in (tail.run(OPS, z, None), run_folded(tail, z))]
    torch.testing.assert_close(results[1], results[0])
    weights = [z]
    map_arrays(tail, weights.append)
    looked_at = torch.randn_like(results[0])
    gradients = [torch.autograd.grad((result * looked_at).sum(), weights) for result in results]
    for folded, defined in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(folded, defined)


@pytest.mark.parametrize("scale", [2, 3, 4, 6])
def test_training_folds_as_inference_does_between_borders(scale):
    tail = map_arrays(tail_of(scale), torch.Tensor.detach)
    between = fold_between(map_arrays(tail, torch.Tensor.numpy))
    for ours, theirs in zip(fold(tail), between, strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(theirs).to(ours), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (5, 2), (6, 7)])
@pytest.mark.parametrize("scale", [2, 3, 4, 6])
def test_each_edge_case_is_the_definition(scale, size):
    """The pixel in each corner, edge and between, of images in which all edge cases occur."""
    tail = map_arrays(tail_of(scale), torch.Tensor.detach)
    z = torch.randn(1, 6, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = tail.run(OPS, z, None)
    cases = fold_tail(map_arrays(tail, torch.Tensor.numpy))
    found = [F.pixel_shuffle(OPS.conv(z, *(torch.from_numpy(part).double() for part in case)), scale) for case in cases]
    rows, columns = ([edge_case(at, length) for at in range(length)] for length in size)
    for row, row_case in enumerate(rows):
        for column, column_case in enumerate(columns):
            box = np.s_[..., row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
            ours = found[row_case * len(EDGE_CASES) + column_case][box]
            torch.testing.assert_close(ours, expected[box], atol=1e-5, rtol=1e-5)


def edge_case(at: int, length: int) -> int:
    """Index in `EDGE_CASES` of a pixel along an axis."""
    return 3 if length == 1 else 0 if at == 0 else 2 if at == length - 1 else 1
