"""The forward pass of training: `Network.forward` with the depths of a step, a folded tail, and mixed precision."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adadsr.graph import ConvWeights, NearestTail, ShuffleTail
from adadsr.losses import tile_errors
from adadsr.networks import Network
from adadsr.networks.depth_maps import predicted_error
from adadsr.tensor_ops import OPS
from adadsr.training.convs import TorchConvs
from adadsr.training.depths import AdapterDepths, RunDepths, UniformDepths, one_color, shared_depth_maps
from adadsr.training.recipe import Recipe


class Trained(NamedTuple):
    """Result of a forward pass; the N images repeat for each of several uniform depths.

    sr: (N, 3, s*H, s*W) in 0..255, less its border (`crop_border`). depth_map: (N, G, h, w) in blocks; None without
    one. predicted_error: of the tiles at the depth that ran, (N, 1, h, w), from an adapter that predicts errors; None
    otherwise.
    """

    sr: Tensor
    depth_map: Tensor | None = None
    predicted_error: Tensor | None = None


class TrainingForward(nn.Module):
    """What training differentiates. It differs from `Network.forward` in three ways.

    - Depths are those of a step: images may share a desired depth, or all run one number of blocks (`RunDepths`).
    - The tail is folded, so its border differs from the definition and is cut off (`crop_border`).
    - bfloat16: the convs of body and adapter multiply in it, and those of ESRGAN's tail before the last. Head, sums
      and the rest of the tail stay in float32: pixel values need more than 8 bits, or rounding decides the sign of most
      differences in an L1 loss and the gradient is lost (`tests/test_training_precision.py`).
    """

    def __init__(self, network: Network, *, bfloat16: bool, convs: TorchConvs | None = None) -> None:
        """The parameters of the network may change from here on, but not be replaced. convs: torch's by default."""
        super().__init__()
        self.network, self.bfloat16_body, self.convs = network, bfloat16, convs or TorchConvs()
        self.weights = network.weights()

    def forward(self, lr: Tensor, depths: RunDepths = None) -> Trained:
        """lr: (N, 3, H, W) in 0..255."""
        weights, depth_map, predicted = self.weights, None, None
        seen, lr = lr, self._unshuffled(lr)
        z0: Tensor = weights.head.run(OPS, lr)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16_body):
            if isinstance(depths, UniformDepths):
                z = self._run_uniform(z0, depths)
                predicted = self._uniform_error(z0, depths)
                lr = lr.repeat(len(depths.blocks), 1, 1, 1)
            else:
                if depths is not None:
                    depth_map, predicted = self._map(z0, depths, seen)
                z = self.convs.run_body(weights.body, z0, depth_map)
        return Trained(crop_border(self._restore(lr, z), self.network.config.scale), depth_map, predicted)

    def features(self, lr: Tensor) -> Tensor:
        """Of the head, (N, C, H, W) of LR patches in 0..255."""
        z0: Tensor = self.weights.head.run(OPS, self._unshuffled(lr))
        return z0

    def _unshuffled(self, lr: Tensor) -> Tensor:
        square = self.network.config.unshuffle
        return F.pixel_unshuffle(lr, square) if square > 1 else lr

    def _restore(self, lr: Tensor, z: Tensor) -> Tensor:
        """`NetworkWeights.restore`, with a folded tail if it can be folded."""
        weights, ops, tail = self.weights, self.convs.ops, self.weights.tail
        if isinstance(tail, NearestTail):
            with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16_body):
                hidden = tail.run_hidden(ops, z)
            sr = tail.last.run(ops, hidden.to(lr.dtype))
        elif isinstance(tail, ShuffleTail):
            sr = run_folded(tail, z.to(lr.dtype))
        else:
            sr = tail.run(ops, z.to(lr.dtype), weights.head.normalise(OPS, lr))
        restored: Tensor = weights.head.denormalise(OPS, sr)
        return restored

    def _uniform_error(self, z0: Tensor, depths: UniformDepths) -> Tensor | None:
        """The error that the adapter predicts for each of these depths; None if it predicts none."""
        if not self.weights.require_adapter().predicts_errors:
            return None
        scores = self._scores(z0.detach(), None)
        return torch.cat([predicted_error(scores, torch.full_like(scores[:, :1], n)) for n in depths.blocks])

    def _map(self, z0: Tensor, depths: AdapterDepths, seen: Tensor) -> tuple[Tensor, Tensor | None]:
        """The depth map of a step, and the error that the adapter predicts for it. seen: the LR patches.

        An adapter that predicts errors learns nothing else, and the head nothing from it.
        """
        adapter = self.weights.require_adapter()
        scores = self._scores(z0.detach() if adapter.predicts_errors else z0, depths.desired)
        depth_map = shared_depth_maps(self.weights, scores, depths)
        if depths.color_maps is not None:
            depth_map = torch.where(one_color(seen)[:, None, None, None], depths.color_maps, depth_map)
        return depth_map, predicted_error(scores, depth_map[:, :1]) if adapter.predicts_errors else None

    def _run_uniform(self, z0: Tensor, depths: UniformDepths) -> Tensor:
        """The body with only its first blocks. Compiled it runs all times 0 or 1: one program for all numbers."""
        body = self.weights.body
        if not torch.compiler.is_compiling():
            return self.convs.run_exits(body, z0, depths.blocks)
        everywhere = torch.ones(len(z0), *self.weights.map_shape(*z0.shape[-2:]), device=z0.device)
        return torch.cat([self.convs.run_body(body, z0, everywhere * n_blocks) for n_blocks in depths.blocks])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _scores(self, z0: Tensor, desired_depth: Tensor | None) -> Tensor:
        """In float32, as depths have to be. Not compiled: torch 2.13 mistakes the layout of the padding's gradient.

        desired_depth: None for an adapter that does not use it.
        """
        desired = z0.new_zeros(len(z0)) if desired_depth is None else desired_depth
        scores: Tensor = self.weights.require_adapter().run(self.convs.ops, z0, desired)
        return scores.to(z0.dtype)


def make_forward(network: Network, recipe: Recipe, convs: TorchConvs | None = None) -> TrainingForward:
    """The forward pass with the precision and compilation of a recipe. convs: torch's by default."""
    casts = convs is not None and convs.casts
    forward = TrainingForward(network, bfloat16=recipe.precision == "bfloat16" and not casts, convs=convs)
    if recipe.compile:
        forward.compile(mode="reduce-overhead" if recipe.cuda_graphs else "default")
    return forward


def crop_border(images: Tensor, scale: int) -> Tensor:
    """SR or HR images (..., H, W) without their border of scale - 1 pixels, which no loss counts.

    Folded tails get all of it wrong, or at x3 its outermost pixel: there the definition sees zeros beyond the image.
    """
    border, (height, width) = scale - 1, images.shape[-2:]
    return images[..., border : height - border, border : width - border]


def cropped_tile_errors(sr: Tensor, hr: Tensor, tile: int, scale: int) -> Tensor:
    """`losses.tile_errors` of images of which `crop_border` cut off the border: it counts as what it was next to."""
    sr, hr = (F.pad(image, [scale - 1] * 4, mode="replicate") for image in (sr, hr))
    return tile_errors(sr, hr, tile)


def run_folded(tail: ShuffleTail, z: Tensor) -> Tensor:
    """`ShuffleTail.run`, except for the border that `crop_border` cuts off, with the same weights and gradients.

    Between the convs lies only PixelShuffle, so together they are one 5x5 conv: an eighth of the multiply-accumulates
    at x2 with 64 features, a tenth at x4. z: (N, C, H, W). Returns (N, 3, s*H, s*W).
    """
    return F.pixel_shuffle(fold(tail).run(OPS, z), tail.scale)


def fold(tail: ShuffleTail) -> ConvWeights:
    """The 5x5 conv that equals a tail between the borders, before a single PixelShuffle; (3 * s^2, C, 5, 5)."""
    folded = tail.last
    for conv, factor in zip(reversed(tail.convs), reversed(tail.factors), strict=True):
        folded = _fold(conv, factor, folded)
    outputs = torch.cat([folded.weight.flatten(1), folded.bias[:, None]], dim=1).T[..., None, None]
    for factor in tail.factors:
        outputs = F.pixel_shuffle(outputs, factor)
    weight, bias = outputs.flatten(1).T.tensor_split([-1], dim=1)
    weight = weight.reshape(-1, *folded.weight.shape[1:])
    return ConvWeights(weight.contiguous(memory_format=torch.channels_last), bias.flatten())


def _fold(up: ConvWeights, factor: int, last: ConvWeights) -> ConvWeights:
    """The 5x5 conv that equals `up`, PixelShuffle(factor) and `last` in a row, before a PixelShuffle(factor).

    up: (factor^2 * C, C, 3, 3). last: (O, C, k, k) with k = 3 or 5. Returns (O * factor^2, C, 5, 5): the response to
    an impulse at the middle of 5x5 pixels, seen from each pixel that it reaches.
    """
    reach = last.reach
    impulses = F.pixel_shuffle(up.weight.flip(-2, -1).transpose(0, 1), factor)
    responses = F.conv2d(impulses, last.weight, padding=factor + reach)
    weight = F.pixel_unshuffle(responses, factor).flip(-2, -1).transpose(0, 1)
    flat = F.pixel_shuffle(up.bias[None, :, None, None].expand(-1, -1, 3, 3), factor)
    bias = F.conv2d(flat, last.weight, last.bias, padding=reach)[..., factor : 2 * factor, factor : 2 * factor]
    return ConvWeights(weight, F.pixel_unshuffle(bias, factor).flatten())
