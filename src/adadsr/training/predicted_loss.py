"""A stage that teaches an adapter how many dB its maps lose, nearly without changing them.

In the other stages the adapter learns errors tile by tile. Errors of single tiles differ a hundredfold for reasons that
nothing in the LR image tells, so it underestimates the small gains of late blocks, and a predicted loss adds up
hundreds of them. Here whole patches count: the dB that one loses at some depths and by a map against full depth.
Within a patch the gains of tiles keep their proportions, so maps hardly change.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.graph import NetworkWeights
from adadsr.losses import LEAST_ERROR
from adadsr.networks.depth_maps import error_and_gains, predicted_error
from adadsr.training.depths import ComparedDepths
from adadsr.training.forward import TrainingForward, cropped_tile_errors

SMALL_LOSS = 0.1
"""dB. Larger errors of a predicted loss count in proportion, smaller ones by their square."""
FULL_WEIGHT = 0.04
"""Weight of the squared error of the logarithm of what is left at full depth."""
PROPORTION_WEIGHT = 0.2
"""Weight of `proportion_loss`."""
BLOCK_SHARE = 0.9
"""Weight of the mean change of one block against that of all blocks; a change equal to their blend costs nothing."""
GAIN_FLOOR = 1e-3
"""Squared levels. Smaller gains may change freely."""
LEAST_RATIO = 0.95
"""Smallest ratio of a patch's error to its error at full depth; noise can put it below 1."""


class PredictedLossForward(nn.Module):
    """The forward pass of such a stage. Only the adapter gets gradients."""

    def __init__(self, run: TrainingForward, reference: Mapping[str, Tensor]) -> None:
        """reference: the adapter whose proportions are kept, by the names that it has in the network."""
        super().__init__()
        self.run = run
        self.reference = copy.deepcopy(run.network).requires_grad_(False)
        self.reference.load_state_dict(reference, strict=False)

    def forward(self, lr: Tensor, hr: Tensor, depths: ComparedDepths) -> tuple[Tensor, Tensor]:
        """The loss, and SR by the maps without its border.

        lr: patches (N, 3, H, W) in 0..255. hr: less its border (`crop_border`).
        """
        weights, blocks = self.run.weights, depths.uniform.blocks
        tile, scale = weights.depth_tile * weights.scale, self.run.network.config.scale
        assert blocks[-1] == weights.n_blocks
        with torch.no_grad():
            uniform = self.run(lr, depths.uniform).sr.clone().chunk(len(blocks))
            mapped = self.run(lr, depths.maps)
            z0 = self.run.features(lr)
            before = self._scores(self.reference.weights(), z0)
        scores = self._scores(weights, z0)
        assert mapped.depth_map is not None
        maps = [torch.full_like(scores[:, :1], number) for number in blocks] + [mapped.depth_map[:, :1]]
        shown = (sr.clamp(0, 255) for sr in (*uniform, mapped.sr))
        errors = torch.stack([cropped_tile_errors(sr, hr, tile, scale) for sr in shown])
        predicted = torch.stack([predicted_error(scores, each) for each in maps])
        loss = patch_loss(predicted, errors, len(blocks) - 1)
        return loss + PROPORTION_WEIGHT * proportion_loss(scores, before), mapped.sr

    def _scores(self, weights: NetworkWeights, z0: Tensor) -> Tensor:
        scores: Tensor = weights.require_adapter().run(self.run.convs.ops, z0, z0.new_zeros(len(z0)))
        return scores


def patch_loss(predicted: Tensor, errors: Tensor, full: int) -> Tensor:
    """How far predicted losses of patches are from real ones.

    predicted, errors: of the tiles of N patches in several runs, (runs, N, 1, h, w), in squared levels. full: the run
    at full depth.
    """
    rows, columns = errors.shape[-2:]
    predicted_sums = predicted[..., :rows, :columns].sum(dim=(2, 3, 4))
    real_sums = errors.clamp_min(LEAST_ERROR).sum(dim=(2, 3, 4))
    expected, lost = (10 * (sums / sums[full]).clamp_min(LEAST_RATIO).log10() for sums in (predicted_sums, real_sums))
    of_losses = F.smooth_l1_loss(expected, lost, beta=SMALL_LOSS)
    return of_losses + FULL_WEIGHT * (predicted_sums[full] / real_sums[full]).log().square().mean()


def proportion_loss(scores: Tensor, before: Tensor) -> Tensor:
    """How far the gains of tiles have left their proportions to each other; scores: (N, B + 1, h, w).

    The common change is detached: it is where single tiles are drawn to, not the other way round.
    """
    now, then = ((error_and_gains(each)[1] + GAIN_FLOOR).log() for each in (scores, before))
    change = now - then
    of_block, of_all = change.mean(dim=(2, 3), keepdim=True), change.mean(dim=(1, 2, 3), keepdim=True)
    return (change - torch.lerp(of_all, of_block, BLOCK_SHARE).detach()).square().mean()
