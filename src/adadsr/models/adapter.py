"""The adapter: from image features and a desired depth to the depth map.

Every adapter splits its work in two, so that a budget can be met after one pass over the image:
`scores` looks at the features, `depth_map` turns scores into depths and is non-decreasing in `shift`.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.models.config import NetworkConfig
from adadsr.models.layers import conv3x3, conv_tensors
from adadsr.sparse.calibration import calibrate
from adadsr.sparse.front import Activated, run_adapter
from adadsr.sparse.front import Adapter as AdapterTensors

TOLERANCE = 0.002
"""A cost, as a share of the dense one, that one shift of all scores misses by more is met by some equal positions."""


class PReLUConv(nn.Module):
    """The parameters of a one-parameter PReLU, then a 3x3 conv; `sparse.front` runs them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.activation = nn.PReLU()
        self.conv = conv3x3(in_channels, out_channels)

    def tensors(self) -> Activated:
        """As a backend takes them."""
        return Activated(self.activation.weight, conv_tensors(self.conv))


class Adapter(nn.Module):
    """What all adapters share: the number of blocks that a depth of one group can reach."""

    reach: int
    """Within how many pixels of its 4x4 tile of the image, at least, the features decide a score to the last bit.

    A backend may run convs of single pixels as 4x4 tiles of the image, each of which looks at all of those around it.
    """

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.n_blocks = n_blocks

    def tensors(self) -> AdapterTensors:
        """What makes the scores, as a backend takes it."""
        raise NotImplementedError

    def scores(self, z0: Tensor, desired_depth: Tensor) -> Tensor:
        """z0: (N, C, H, W). desired_depth: (N,), in blocks. Returns (N, G, ceil(H/t), ceil(W/t)), any real number."""
        return run_adapter(self.tensors(), z0, desired_depth)

    def depth_map(self, scores: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        """Depths for scores raised by `shift`; the same shape, in blocks, >= 0, non-decreasing in `shift`."""
        raise NotImplementedError

    def shift_bounds(self, scores: Tensor) -> tuple[float, float]:
        """Shifts at which every depth is 0, and at which every depth is at least `n_blocks`."""
        raise NotImplementedError

    def at_depth(self, scores: Tensor, desired_depth: Tensor) -> Tensor:
        """The depth map that the adapter gives for its scores at a desired depth, (N,), in blocks."""
        raise NotImplementedError

    def within(self, scores: Tensor, cost: Callable[[Tensor], float], target: float) -> Tensor:
        """The deepest map of whole blocks for scores of one image, (1, G, h, w), that costs at most `target`.

        cost: non-decreasing in the depths; see `calibrate`. What a gate of 1 at the last block costs, a fraction does
        too.
        """
        bounds = self.shift_bounds(scores)
        return calibrate(lambda shift: self.depth_map(scores, shift).ceil(), bounds, cost, target, TOLERANCE)

    def forward(self, z0: Tensor, desired_depth: Tensor) -> Tensor:
        """z0: (N, C, H, W). desired_depth: (N,), in blocks. Returns (N, G, ceil(H/t), ceil(W/t)), in blocks, >= 0."""
        return self.at_depth(self.scores(z0, desired_depth), desired_depth)


def _rest(in_channels: int, width: int, n_groups: int) -> nn.ModuleList:
    """The four convs that follow the first one."""
    channels = [in_channels, width, width, width, n_groups]
    return nn.ModuleList(PReLUConv(*pair) for pair in pairwise(channels))


def _rest_tensors(rest: nn.ModuleList) -> tuple[Activated, ...]:
    return tuple(part.tensors() for part in rest if isinstance(part, PReLUConv))


class PixelAdapter(Adapter):
    """A depth for each pixel, as published (arXiv:2004.03915, eq. 5 and 6): five 3x3 convs, then ReLU.

    The largest depth is not bounded; what exceeds the number of blocks has no effect.
    """

    reach = 17

    def __init__(self, n_feats: int, width: int, n_groups: int, n_blocks: int) -> None:
        super().__init__(n_blocks)
        self.first = conv3x3(n_feats, width)
        self.rest = _rest(width, width, n_groups)

    def depth_map(self, scores: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        return F.relu(scores + shift)

    def at_depth(self, scores: Tensor, desired_depth: Tensor) -> Tensor:
        return self.depth_map(scores)

    def shift_bounds(self, scores: Tensor) -> tuple[float, float]:
        # One block of slack: a shift that only just reaches the bound would be lost to rounding.
        return -float(scores.max()) - 1, self.n_blocks - float(scores.min()) + 1


class EDSRPixelAdapter(PixelAdapter):
    """The published adapter of AdaEDSR: C -> C/2 -> ... -> 1, the desired depth multiplies the last conv's output."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.n_feats, config.n_feats // 2, config.n_groups, config.n_resblocks)

    def tensors(self) -> AdapterTensors:
        return AdapterTensors(conv_tensors(self.first), _rest_tensors(self.rest), output_times_depth=True)


class RCANPixelAdapter(PixelAdapter):
    """The published adapter of AdaRCAN: C -> C -> ... -> one map a group, the desired depth multiplies its input."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.n_feats, config.n_feats, config.n_groups, config.n_resblocks)

    def tensors(self) -> AdapterTensors:
        return AdapterTensors(conv_tensors(self.first), _rest_tensors(self.rest), input_times_depth=True)


class TileAdapter(Adapter):
    """One depth for each tile, whose mean over the image is the desired depth exactly (docs/algorithm.md).

    A strided conv sees each tile whole, four 3x3 convs at tile resolution follow. The scores pass a sigmoid that is
    stretched until it reaches 0 and `n_blocks`, and are shifted together until the mean depth is the desired one.
    """

    STRETCH = 0.1
    """How far the sigmoid reaches beyond [0, 1] before it is clamped, so that 0 and full depth occur."""
    SATURATION = 3.0
    """A score of which the stretched sigmoid is clamped: log((1 + STRETCH) / STRETCH), rounded up."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.n_resblocks)
        self.tile = config.depth_tile
        self.reach = 4 * self.tile
        width = config.n_feats
        self.embed = nn.Conv2d(config.n_feats, width, kernel_size=self.tile, stride=self.tile)
        self.rest = _rest(width, width // 2, config.n_groups)

    def tensors(self) -> AdapterTensors:
        return AdapterTensors(conv_tensors(self.embed), _rest_tensors(self.rest), self.tile)

    def depth_map(self, scores: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        stretched = (1 + 2 * self.STRETCH) * torch.sigmoid(scores + shift) - self.STRETCH
        return self.n_blocks * stretched.clamp(0, 1)

    def shift_bounds(self, scores: Tensor) -> tuple[float, float]:
        return -float(scores.max()) - self.SATURATION, self.SATURATION - float(scores.min())

    def at_depth(self, scores: Tensor, desired_depth: Tensor) -> Tensor:
        return self.depth_map(scores, self._mean_shift(scores, desired_depth))

    def _mean_shift(self, scores: Tensor, desired_depth: Tensor) -> Tensor:
        """Shift of each sample, (N, 1, 1, 1), at which its mean depth is the desired one.

        The shift is found by bisection and then given the gradient of the implicit function: where all scores of an
        image rise together the shift falls by as much, so that training moves depth between tiles, never the mean.
        """
        target = desired_depth.view(-1, 1, 1, 1)
        with torch.no_grad():
            low = -scores.amax(dim=(1, 2, 3), keepdim=True) - self.SATURATION
            high = self.SATURATION - scores.amin(dim=(1, 2, 3), keepdim=True)
            for _ in range(30):
                middle = (low + high) / 2
                below = self.depth_map(scores, middle).mean(dim=(1, 2, 3), keepdim=True) < target
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            sigmoid = torch.sigmoid(scores + high)
            inside = (self.depth_map(scores, high) > 0) & (self.depth_map(scores, high) < self.n_blocks)
            slope = sigmoid * (1 - sigmoid) * inside
            weight = slope / slope.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        follow = (weight * scores).sum(dim=(1, 2, 3), keepdim=True)
        return high - (follow - follow.detach())
