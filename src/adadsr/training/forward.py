"""A network's forward pass as training runs it: in float32, or with the body's convs in bfloat16."""

import torch
from torch import Tensor, nn

from adadsr.models import Network, Restoration
from adadsr.training.folded_tail import inside, run_folded


class Forward(nn.Module):
    """`Network.forward` without the border of the SR image (`folded_tail.inside`), with the convs of body and adapter in bfloat16 where `bfloat16` asks for it.

    Pixel values, and the features that carry them through head, sums and tail, need more than 8 bits: with all of the
    network in bfloat16 the rounding of the output decided the sign of most differences that L1 looks at, and the
    gradient with it (`tests/test_training_precision.py`).
    """

    def __init__(self, network: Network, *, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.bfloat16_body = network, bfloat16

    def forward(
        self, lr: Tensor, desired_depth: Tensor | None = None, hardness: float = 0.0, *, shared_depth: bool = False
    ) -> Restoration:
        """See `Network.forward`. shared_depth: see `Stage`; images below full depth have the same desired depth."""
        network = self.network
        z0 = network.head(lr)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16_body):
            if desired_depth is None:
                depth_map = None
            elif shared_depth:
                depth_map = predict_together(network, z0, desired_depth, hardness)
            else:
                depth_map = network.predict_depth(z0, desired_depth, hardness)
            z = network.body(z0, depth_map, hardness)
        return Restoration(inside(run_folded(network.tail, z.float())), depth_map)


def predict_together(network: Network, z0: Tensor, desired_depth: Tensor, hardness: float) -> Tensor:
    """Depth maps (N, G, h, w) of which those below full depth meet their one desired depth as parts of one image would.

    z0: (N, C, H, W). desired_depth: (N,), in blocks. hardness: of the gates, see `sparse.depth.gate`.
    """
    adapter = network.require_adapter()
    scores = adapter.scores(z0, desired_depth)
    depth_map = torch.full_like(scores, network.config.n_resblocks, dtype=desired_depth.dtype)
    partial = desired_depth < network.config.n_resblocks
    if not partial.any():
        return depth_map
    one_image = scores[partial].transpose(0, 1).flatten(1, 2)[None]
    together = adapter.at_depth(one_image, desired_depth[partial][:1], hardness)
    groups, width = scores.shape[1], scores.shape[3]
    depth_map[partial] = together[0].view(groups, -1, scores.shape[2], width).transpose(0, 1)
    return depth_map
