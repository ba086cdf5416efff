"""A network's forward pass as training runs it: in float32, or with the body's convs in bfloat16."""

import torch
from torch import Tensor, nn

from adadsr.models import Network, Restoration
from adadsr.models.adapter import Adapter
from adadsr.sparse.reference import run_reference
from adadsr.training.folded_tail import inside, run_folded
from adadsr.training.recipe import Recipe


class Forward(nn.Module):
    """`Network.forward` without the border of the SR image (`folded_tail.inside`).

    bfloat16: the convs of body and adapter multiply in it.

    Pixel values, and the features that carry them through head, sums and tail, need more than 8 bits: with all of the
    network in bfloat16 the rounding of the output decided the sign of most differences that L1 looks at, and the
    gradient with it (`tests/test_training_precision.py`).
    """

    def __init__(self, network: Network, *, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.bfloat16_body = network, bfloat16

    def forward(
        self,
        lr: Tensor,
        desired_depth: Tensor | None = None,
        sharing: tuple[int, int] = (1, 0),
        uniform: int | None = None,
    ) -> Restoration:
        """See `Network.forward`. sharing: see `meet_together`; with 1 image each map meets its depth alone.

        uniform: so many blocks run everywhere; the desired depth then says nothing.
        """
        network = self.network
        z0 = network.head(lr)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16_body):
            depth_map = None
            if uniform is not None:
                z = self._run_everywhere(z0, uniform)
            else:
                if desired_depth is not None:
                    scores = self._scores(z0, desired_depth)
                    depth_map = meet_together(network.require_adapter(), scores, desired_depth, sharing)
                z = network.body(z0, depth_map)
        return Restoration(inside(run_folded(network.tail, z.float())), depth_map)

    def _run_everywhere(self, z0: Tensor, blocks: int) -> Tensor:
        """The body with its first blocks alone. Compiled it runs all, most of them times 0, as one program for all."""
        if not torch.compiler.is_compiling():
            return run_reference(self.network.body.tensors().shallow(blocks), z0)
        config = self.network.config
        size = [-(-length // config.depth_tile) for length in z0.shape[-2:]]
        depth_map = torch.ones(len(z0), config.n_groups, *size, device=z0.device) * blocks
        features: Tensor = self.network.body(z0, depth_map)
        return features

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _scores(self, z0: Tensor, desired_depth: Tensor) -> Tensor:
        """In float32, as depths have to be. Not compiled: torch 2.13 mistakes the layout of the padding's gradient."""
        return self.network.require_adapter().scores(z0, desired_depth).float()


def meet_together(adapter: Adapter, scores: Tensor, desired_depth: Tensor, sharing: tuple[int, int]) -> Tensor:
    """Depth maps (N, G, h, w) of images that meet one desired depth together, as parts of one image would.

    scores: (N, G, h, w). desired_depth: (N,), in blocks. sharing: how many images share a desired depth, which N is a
    multiple of, and how many of them, the first, run at full depth.
    """
    together, full = sharing
    if together == 1:
        return adapter.at_depth(scores, desired_depth)
    groups = scores.reshape(-1, together, *scores.shape[1:])
    one_image = groups[:, full:].transpose(1, 2).flatten(2, 3)
    depths = adapter.at_depth(one_image, desired_depth.view(-1, together)[:, -1])
    maps = depths.reshape(*depths.shape[:2], together - full, *scores.shape[2:]).transpose(1, 2)
    everywhere = maps.new_full((1, 1, 1, 1, 1), adapter.n_blocks).expand(len(maps), full, *maps.shape[2:])
    return torch.cat([everywhere, maps], dim=1).flatten(0, 1)


def make_forward(network: Network, recipe: Recipe) -> Forward:
    """The forward pass as a recipe asks for it: precision, compilation, CUDA graphs."""
    forward = Forward(network, bfloat16=recipe.precision == "bfloat16")
    if recipe.compile:
        forward.compile(mode="reduce-overhead" if recipe.cuda_graphs else "default")
    return forward
