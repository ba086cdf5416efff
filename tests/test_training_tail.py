"""The tail as training runs it is the tail, inside the border, and so are its gradients."""

import pytest
import torch

from adadsr.models.layers import Tail
from adadsr.sparse.tail_folding import PLACES, fold_tail
from adadsr.training.folded_tail import fold, inside, run_folded

BETWEEN = PLACES.index((5, 2)) * (len(PLACES) + 1)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 6)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_folded_is_the_definition_inside_the_border(scale, size):
    torch.manual_seed(0)
    tail = Tail(6, scale).double()
    z = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    results = [inside(run(z)) for run in (tail, lambda z: run_folded(tail, z))]
    torch.testing.assert_close(results[1], results[0])
    weights = [z, *tail.parameters()]
    looked_at = torch.randn_like(results[0])
    gradients = [torch.autograd.grad((result * looked_at).sum(), weights) for result in results]
    for folded, defined in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(folded, defined)


@pytest.mark.parametrize("factor", [2, 3])
def test_training_folds_as_inference_does_between_borders(factor):
    torch.manual_seed(0)
    tensors = Tail(6, factor).double().tensors()
    folded = fold(tensors.convs[-1], tensors.factors[-1], tensors.last)
    between = fold_tail(tensors)[BETWEEN]
    for ours, theirs in zip(folded, between, strict=True):
        torch.testing.assert_close(ours, theirs.to(ours), atol=1e-6, rtol=1e-6)
