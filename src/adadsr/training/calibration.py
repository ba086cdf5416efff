"""A stage that teaches an adapter what maps lose, and leaves the maps nearly as they are.

In the other stages the adapter learns errors tile by tile. Errors of single tiles differ a hundredfold for reasons that
nothing in the LR image tells, so what it learns of the small gains of late blocks is too little, and a predicted loss
adds up hundreds of them. Here whole patches count: the dB that one loses at some depths and by a map against full
depth. Within a patch the gains of tiles keep their proportions, so maps change little.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.graph import NetworkWeights
from adadsr.losses import LEAST_ERROR, tile_errors
from adadsr.networks.depth_maps import error_and_gains, predicted_error
from adadsr.tensor_ops import OPS
from adadsr.training.depths import AdapterDepths, UniformDepths
from adadsr.training.forward import BORDER, TrainingForward, crop_border

SMALL_LOSS = 0.1
"""dB. Larger errors of a predicted loss count in proportion, smaller ones by their square."""
FULL_WEIGHT = 0.04
"""Of the squared error of the logarithm of what is left at full depth."""
ORDER_WEIGHT = 0.2
"""Of `order_loss`."""
SAME_BLOCK = 0.9
"""Share of a change that other tiles have to have in common for the same block; for all blocks together the rest."""
LEAST_GAIN = 1e-3
"""Squared levels. Smaller gains may change freely."""
LEAST_RATIO = 0.95
"""Of errors at a depth to those at full depth, which by chance may be larger."""


class Calibration(nn.Module):
    """The forward pass of such a stage. Only the adapter gets gradients."""

    def __init__(self, run: TrainingForward, reference: Mapping[str, Tensor]) -> None:
        """reference: the adapter whose proportions are kept, by the names that it has in the network."""
        super().__init__()
        self.run, self.weights = run, run.network.weights()
        self.before = copy.deepcopy(run.network).requires_grad_(False)
        self.before.load_state_dict(reference, strict=False)

    def forward(
        self, lr: Tensor, hr: Tensor, depths: UniformDepths, map_depths: AdapterDepths
    ) -> tuple[Tensor, Tensor]:
        """The loss, and SR at full depth without its border.

        lr: patches (N, 3, H, W) in 0..255. hr: (N, 3, s*H, s*W). depths: of which the last is full depth. map_depths:
        desired depths of the maps.
        """
        weights = self.weights
        assert depths.blocks[-1] == weights.n_blocks
        with torch.no_grad():
            shown = self.run(lr, depths).sr.chunk(len(depths.blocks))
            mapped = self.run(lr, map_depths)
            z0 = weights.head.run(OPS, lr)
            before = self._scores(self.before.weights(), z0)
        scores = self._scores(weights, z0)
        assert mapped.depth_map is not None
        maps = [torch.full_like(scores[:, :1], blocks) for blocks in depths.blocks] + [mapped.depth_map[:, :1]]
        errors = torch.stack([self._errors(sr, hr) for sr in (*shown, mapped.sr)])
        predicted = torch.stack([predicted_error(scores, each) for each in maps])
        loss = calibration_loss(predicted, errors, len(depths.blocks) - 1)
        return loss + ORDER_WEIGHT * order_loss(scores, before), shown[-1]

    def _scores(self, weights: NetworkWeights, z0: Tensor) -> Tensor:
        scores: Tensor = weights.require_adapter().run(self.run.convs.ops, z0, z0.new_zeros(len(z0)))
        return scores

    def _errors(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Of tiles. sr: without its border."""
        sr, hr = (F.pad(image, [BORDER] * 4, mode="replicate") for image in (sr.clamp(0, 255), crop_border(hr)))
        return tile_errors(sr, hr, self.weights.depth_tile * self.weights.scale)


def calibration_loss(predicted: Tensor, errors: Tensor, full: int) -> Tensor:
    """How far predicted losses of patches are from real ones.

    predicted, errors: of the tiles of N patches run in several ways, (ways, N, 1, h, w), in squared levels. full: the
    way at full depth.
    """
    rows, columns = errors.shape[-2:]
    said, real = predicted[..., :rows, :columns].sum(dim=(2, 3, 4)), errors.clamp_min(LEAST_ERROR).sum(dim=(2, 3, 4))
    expected, lost = (10 * (each / each[full]).clamp_min(LEAST_RATIO).log10() for each in (said, real))
    of_losses = F.smooth_l1_loss(expected, lost, beta=SMALL_LOSS)
    return of_losses + FULL_WEIGHT * (said[full] / real[full]).log().square().mean()


def order_loss(scores: Tensor, before: Tensor) -> Tensor:
    """How far gains of tiles have left their proportions; scores: (N, B + 1, h, w)."""
    now, then = ((error_and_gains(each)[1] + LEAST_GAIN).log() for each in (scores, before))
    change = now - then
    of_block, of_all = change.mean(dim=(2, 3), keepdim=True), change.mean(dim=(1, 2, 3), keepdim=True)
    return (change - torch.lerp(of_all, of_block, SAME_BLOCK).detach()).square().mean()
