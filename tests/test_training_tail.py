"""The folded tail of training equals the definition inside the border, and so do its gradients."""

import pytest
import torch

from adadsr.backends.native.tail_folding import EDGE_CASES, fold_tail
from adadsr.graph import ShuffleTail, map_arrays
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS
from adadsr.training.forward import crop_border, fold, run_folded

BETWEEN = EDGE_CASES.index((5, 2)) * (len(EDGE_CASES) + 1)


def tail_of(scale: int) -> ShuffleTail:
    return Network(NetworkConfig("edsr", scale, 6, 1), torch.Generator().manual_seed(0)).double().weights().tail


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (7, 6)])
@pytest.mark.parametrize("scale", [2, 3, 4])
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


@pytest.mark.parametrize("factor", [2, 3])
def test_training_folds_as_inference_does_between_borders(factor):
    tail = map_arrays(tail_of(factor), torch.Tensor.detach)
    folded = fold(tail)
    arrays = map_arrays(tail, torch.Tensor.numpy)
    between = fold_tail(arrays.convs[-1], factor, arrays.last)[BETWEEN]
    for ours, theirs in zip(folded, between, strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(theirs).to(ours), atol=1e-6, rtol=1e-6)
