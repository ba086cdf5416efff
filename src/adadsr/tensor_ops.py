"""The array operations of `graph` in torch, differentiable."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class TensorOps:
    """`graph.Ops` for torch tensors on any device, of any floating-point type."""

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2 if stride == 1 else 0)

    def relu(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def prelu(self, x: Tensor, slope: Tensor) -> Tensor:
        return F.prelu(x, slope)

    def leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        return F.leaky_relu(x, slope)

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight.flatten(1), bias)

    def spatial_mean(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), dim=1)

    def pixel_shuffle(self, x: Tensor, upscale_factor: int) -> Tensor:
        return F.pixel_shuffle(x, upscale_factor)

    def upsample(self, x: Tensor, upscale_factor: int) -> Tensor:
        return F.interpolate(x, scale_factor=upscale_factor, mode="nearest")

    def pad_edge(self, x: Tensor, bottom: int, right: int) -> Tensor:
        return F.pad(x, (0, right, 0, bottom), mode="replicate")

    def expand_tiles(self, x: Tensor, tile: int, height: int, width: int) -> Tensor:
        if tile == 1:
            return x
        return x.repeat_interleave(tile, -2).repeat_interleave(tile, -1)[..., :height, :width]

    def where(self, condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        return torch.where(condition, yes, no)

    def per_channel(self, x: Tensor, values: Sequence[float]) -> Tensor:
        # Filled on the device: a copy from the host would stall an accelerator at every call.
        return torch.cat([x.new_full((1, 1, 1, 1), value) for value in values], dim=1)

    def per_image(self, x: Tensor, values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    def cast(self, x: Tensor, like: Tensor) -> Tensor:
        return x.to(like.dtype)


OPS = TensorOps()
