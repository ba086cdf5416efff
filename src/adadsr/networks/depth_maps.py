"""From scores to depth maps in torch, for training: `graph.calibration` for batches on a device.

Published adapters learn through the gates, so their maps have gradients. The others learn what depth is worth by
regression (`predicted_error`), so theirs have none.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import NetworkWeights
from adadsr.graph.calibration import FLAT_GAIN, LARGEST_LOG, SMOOTHINGS, neighbour_blocks

LEAST_DERIVATIVE = 0.05
"""Of the softplus of a score, in training; its own at a score of -3. At -15, where a block gains nothing, it would be
3e-7, and the adapter would never learn that a block does gain."""
LOWEST_SCORE = -12.0


def depths_at(network: NetworkWeights, scores: Tensor, desired_depth: Tensor) -> Tensor:
    """The depth maps (N, G, h, w), in blocks, for an adapter's scores (N, K, h, w) at a desired depth (N,), in blocks.

    The scores of published adapters already include the desired depth. The others meet it as closely as whole blocks
    can without exceeding it; equal gains all count, which may exceed it.
    """
    return _deepest(network, scores, desired_depth) if network.require_adapter().predicts_errors else F.relu(scores)


@torch.no_grad()
def _deepest(network: NetworkWeights, scores: Tensor, desired_depth: Tensor) -> Tensor:
    """The maps whose blocks gain most; see `calibration.ErrorDepths`."""
    _, gains = error_and_gains(scores)
    batch, n_blocks, height, width = gains.shape
    flat = gains.sum(dim=1, keepdim=True) < FLAT_GAIN
    for _ in range(SMOOTHINGS if network.body.exits else 0):
        gains = _mean_around(gains)
    shared = (gains * flat).sum(dim=(2, 3), keepdim=True) / flat.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    gains = torch.where(flat, shared, gains)
    if 0 < (n := neighbour_blocks(n_blocks)) < n_blocks:
        around = F.max_pool2d(gains[:, n:], 3, stride=1, padding=1)
        gains = torch.cat([torch.maximum(gains[:, :-n], around), gains[:, -n:]], dim=1)
    count = (desired_depth * height * width).floor().long().clamp(0, n_blocks * height * width)
    ordered = gains.flatten(1).sort(dim=1, descending=True).values
    ordered = torch.cat([ordered.new_full((batch, 1), torch.inf), ordered], dim=1)
    threshold = ordered.gather(1, count[:, None]).view(-1, 1, 1, 1)
    depths = (gains >= threshold).sum(dim=1, keepdim=True, dtype=scores.dtype)
    return depths.expand(-1, network.n_groups, -1, -1)


def _mean_around(values: Tensor) -> Tensor:
    """`graph.depth.mean_around`, to the last bit."""
    rows = F.pad(values, (0, 0, 1, 1), mode="replicate")
    sums = F.pad(rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :], (1, 1, 0, 0), mode="replicate")
    return (sums[..., :-2] + sums[..., 1:-1] + sums[..., 2:]) * (1 / 9)


def predicted_error(scores: Tensor, depths: Tensor) -> Tensor:
    """Predicted squared error of tiles after some blocks, (N, 1, h, w); see `calibration.ErrorDepths`.

    scores: (N, B + 1, h, w). depths: (N, 1, h, w), whole numbers of blocks.
    """
    full, gains = error_and_gains(scores)
    block = torch.arange(1, gains.shape[1] + 1, device=scores.device, dtype=scores.dtype).view(1, -1, 1, 1)
    return full + (gains * (block > depths)).sum(dim=1, keepdim=True)


def error_and_gains(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted error at full depth, (N, 1, h, w), and what each block gains, (N, B, h, w)."""
    full = scores[:, :1].clamp(-LARGEST_LOG, LARGEST_LOG).exp()
    slopes: Tensor = _Softplus.apply(scores[:, 1:])  # type: ignore[no-untyped-call]
    return full, full * slopes.flip(1).cumsum(1).flip(1)


class _Softplus(torch.autograd.Function):
    """Softplus whose derivative is at least `LEAST_DERIVATIVE`, so that a score which fell too far can come back.

    Below `LOWEST_SCORE` only gradients that raise the score are helped, so none falls without end.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.save_for_backward(scores)
        return F.softplus(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (scores,), (gradient,) = ctx.saved_tensors, gradients
        true = scores.sigmoid()
        helped = (scores > LOWEST_SCORE) | (gradient < 0)
        return gradient * torch.where(helped, true.clamp_min(LEAST_DERIVATIVE), true)
