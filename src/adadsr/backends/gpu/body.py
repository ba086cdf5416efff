"""A body on a GPU's tensor cores: packed once, then run batch by batch.

Nothing here waits for the device, so that a CUDA graph can record a run. Importing this module needs triton.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from adadsr.backends.engine import DepthMap, Progress, no_progress
from adadsr.backends.gpu.autotune import Autotuner, TunedConfig
from adadsr.backends.gpu.launch import (
    AUTOTUNER,
    ConvConfig,
    Epilogue,
    add_scaled,
    attention_scale,
    conv_at,
    dense_conv,
    multiprocessors,
    programs,
    tuned_config,
)
from adadsr.backends.gpu.lists import LaunchDomain, body_domains
from adadsr.errors import BackendError, InputError
from adadsr.graph import Array, BodyWeights, ConvWeights, GroupWeights, ResidualBlock, map_arrays
from adadsr.graph.depth import active_counts, dilate

TYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Types of features and weights."""


class BodyPlan(NamedTuple):
    """Number of first and second convs of each group that run densely: those of its first blocks.

    Active sets are nested, so the blocks for which a dense conv is faster come first.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]


def pack_body(body: BodyWeights) -> BodyWeights:
    """Pack a body of tensors for the kernels: weights in channels_last, biases and attention in float32.

    Tensors that already fit are shared, not copied. Raises BackendError for a body that the kernels cannot run.
    """
    if not all(isinstance(block, ResidualBlock) for block in body.blocks):
        others = sorted({type(block).__name__ for block in body.blocks} - {ResidualBlock.__name__})
        raise BackendError(
            f"the triton engine runs only residual blocks of two 3x3 convs; this network has {', '.join(others)}; "
            "choose another backend"
        )
    blocks = cast(tuple[ResidualBlock, ...], body.blocks)
    if len({block.attention is None for block in blocks}) > 1:
        raise BackendError("only some blocks have channel attention; the triton engine needs it in all or none")
    weight = blocks[0].conv1.weight
    if weight.dtype not in TYPES:
        raise BackendError(f"the weights are {weight.dtype}; the triton engine runs {', '.join(map(str, TYPES))}")
    groups = tuple(_pack_group(group, len(weight), weight.dtype) for group in body.groups)
    closing = None if body.conv is None else _pack_conv(body.conv, len(weight), weight.dtype)
    return BodyWeights(groups, closing, body.depth_tile)


def _pack_group(group: GroupWeights, channels: int, dtype: torch.dtype) -> GroupWeights:
    blocks = tuple(
        ResidualBlock(
            _pack_conv(block.conv1, channels, dtype),
            _pack_conv(block.conv2, channels, dtype),
            map_arrays(block.attention, _float32),
        )
        for block in cast(tuple[ResidualBlock, ...], group.blocks)
    )
    return GroupWeights(blocks, None if group.conv is None else _pack_conv(group.conv, channels, dtype))


def _pack_conv(conv: ConvWeights, channels: int, dtype: torch.dtype) -> ConvWeights:
    if conv.weight.shape != (channels, channels, 3, 3) or conv.weight.dtype != dtype:
        raise BackendError(
            f"a conv has weights {tuple(conv.weight.shape)} of {conv.weight.dtype}; the triton engine runs 3x3 convs "
            f"of {channels} channels, all in {dtype}; choose another backend"
        )
    return ConvWeights(conv.weight.contiguous(memory_format=torch.channels_last), _float32(conv.bias))


def _float32(array: Array) -> Array:
    return array.float().contiguous()


class TritonBody:
    """`BodyWeights.run` at active positions, in the type of the weights, summed in float32. Threads may share it."""

    def __init__(
        self, body: BodyWeights, autotuner: Autotuner[ConvConfig] = AUTOTUNER, precision: str | None = None
    ) -> None:
        """body: tensors on a device. autotuner: stores tuned configs.

        precision: of float32 products, "tf32" or "ieee"; None for that of torch's convs
        (`torch.backends.cudnn.conv.fp32_precision`). Raises BackendError for another precision and as `pack_body` does.
        """
        if precision not in (None, "tf32", "ieee"):
            raise BackendError(f"precision={precision!r} is not one of tf32, ieee")
        cudnn_conv: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
        self.precision = precision or ("tf32" if cudnn_conv.fp32_precision == "tf32" else "ieee")
        self.weights, self.autotuner = pack_body(body), autotuner
        example = self.weights.blocks[0]
        assert isinstance(example, ResidualBlock)
        self.conv, self.attends = example.conv1, example.attention is not None
        self.channels, self.dtype = len(self.conv.bias), self.conv.weight.dtype

    @property
    def sparse_plan(self) -> BodyPlan:
        """The plan without dense convs."""
        return BodyPlan((0,) * len(self.weights.groups), (0,) * len(self.weights.groups))

    def plan(self, z0: Tensor, depth_map: DepthMap | None) -> BodyPlan:
        """Choose the convs that are faster densely, for features like z0. New kinds of conv are measured first.

        depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, on the host; None for full depth.
        """
        with self._on_device(z0):
            shares = [self.tuned(epilogue, z0).break_even for epilogue in self.epilogues(gated=depth_map is not None)]
        groups = self.weights.groups
        if min(shares) == math.inf:
            return self.sparse_plan
        if depth_map is None:
            return BodyPlan(*(tuple(len(group.blocks) * (share <= 1) for group in groups) for share in shares))
        maps = depth_map if self.weights.depth_tile > 1 else dilate(depth_map), depth_map
        dense = [
            tuple(
                int((active_counts(depths[:, index], len(group.blocks)) >= share * depths[:, index].size).sum())
                for index, group in enumerate(groups)
            )
            for depths, share in zip(maps, shares, strict=True)
        ]
        return BodyPlan(*dense)

    def run(
        self,
        z0: Tensor,
        depth_map: Tensor | None,
        plan: BodyPlan,
        progress: Progress = no_progress,
        means: Tensor | None = None,
        *,
        means_given: bool = False,
    ) -> Tensor:
        """The features after the body, (N, C, H, W) in channels_last. Not differentiable.

        z0: (N, C, H, W) of the weights' type; not changed. depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, on the
        device; None for full depth. plan: made for this depth map or another. progress: called with the fraction of
        blocks that are launched. means: of channel attention, (blocks, N, C) float32; read if given, otherwise written.
        Raises InputError for another shape or type.
        """
        self._check(z0, depth_map)
        with self._on_device(z0):
            return _BodyRun(self, z0, depth_map, plan, progress, means, means_given).run()

    def epilogues(self, *, gated: bool) -> tuple[Epilogue, Epilogue]:
        """Epilogues of a block's first and second conv. gated: whether there is a depth map.

        With tiles, hidden features outside the active set are 0.
        """
        masked = gated and self.weights.depth_tile > 1
        return Epilogue(relu=True, gated=masked, clear=masked), Epilogue(gated=gated, add=not self.attends)

    def tuned(self, epilogue: Epilogue, z0: Tensor) -> TunedConfig[ConvConfig]:
        """Tuned config of the blocks' convs with one epilogue on features like z0; all have the same shape."""
        return tuned_config(self.autotuner, self.conv, epilogue, z0, self.weights.depth_tile, self.precision)

    @contextmanager
    def _on_device(self, z0: Tensor) -> Iterator[None]:
        """Launch kernels on the device of z0, without gradients."""
        with torch.no_grad(), torch.cuda.device(z0.device if z0.device.type == "cuda" else -1):
            yield

    def _check(self, z0: Tensor, depth_map: Tensor | None) -> None:
        if z0.ndim != 4 or z0.shape[1] != self.channels or z0.dtype != self.dtype or not z0.numel():
            raise InputError(
                f"z0 has shape {tuple(z0.shape)} and type {z0.dtype}; pass {self.dtype}, (N, {self.channels}, H, W)"
            )
        if depth_map is None:
            return
        tile = self.weights.depth_tile
        expected = (len(z0), len(self.weights.groups), *(-(-length // tile) for length in z0.shape[2:]))
        if tuple(depth_map.shape) != expected or not depth_map.is_floating_point():
            raise InputError(
                f"depth_map has shape {tuple(depth_map.shape)} and type {depth_map.dtype}; pass floating point, "
                f"{expected}"
            )


class _BodyRun:
    """One run of a body over a batch of features."""

    def __init__(
        self,
        body: TritonBody,
        z0: Tensor,
        depth_map: Tensor | None,
        plan: BodyPlan,
        progress: Progress,
        means: Tensor | None,
        means_given: bool,
    ) -> None:
        weights = body.weights
        self.means, self.means_given = means, means_given
        self.body, self.plan, self.progress = body, plan, progress
        self.domains = body_domains(depth_map, weights.depth_tile, weights.n_blocks, z0.shape[2], z0.shape[3])
        self.epilogues = body.epilogues(gated=depth_map is not None)
        self.configs = [body.tuned(epilogue, z0).config for epilogue in self.epilogues]
        self.z0 = z0.contiguous(memory_format=torch.channels_last)
        self.z, self.hidden = _clone(self.z0), torch.zeros_like(self.z0)  # dense convs may read where none ran
        self.update = torch.empty_like(self.z0) if body.attends else None
        self.blocks_launched = 0

    def run(self) -> Tensor:
        """The features after the closing conv and the skip from z0."""
        for index, group in enumerate(self.body.weights.groups):
            start = None if group.conv is None else _clone(self.z)
            if self.epilogues[0].clear:
                self.hidden.zero_()
            self._run_group(index, group)
            if group.conv is not None and start is not None:
                self.z = self._closing_conv(group.conv, start)
        closing = self.body.weights.conv
        return self.z if closing is None else self._closing_conv(closing, _clone(self.z0))

    def _run_group(self, index: int, group: GroupWeights) -> None:
        first, second = (replace(domain, group=index) for domain in self.domains)
        for number, block in enumerate(group.blocks):
            assert isinstance(block, ResidualBlock)
            self._first_conv(block, first, number, dense=number < self.plan.first[index])
            self._second_conv(block, second, number, dense=number < self.plan.second[index])
            self.blocks_launched += 1
            self.progress(self.blocks_launched / len(self.body.weights.blocks))

    def _first_conv(self, block: ResidualBlock, domain: LaunchDomain, number: int, *, dense: bool) -> None:
        config, epilogue, precision = self.configs[0], self.epilogues[0], self.body.precision
        if dense:
            self.hidden = dense_conv(self.z, block.conv1, None, domain, number, epilogue)
        else:
            conv_at(self.z, block.conv1, self.hidden, domain, number, config, epilogue, precision=precision)

    def _second_conv(self, block: ResidualBlock, domain: LaunchDomain, number: int, *, dense: bool) -> None:
        config, epilogue, precision = self.configs[1], self.epilogues[1], self.body.precision
        out, sums = self.z if self.update is None else self.update, None
        if block.attention is not None:
            n_sums = 4 * multiprocessors(self.z.device) if dense else programs(config, self.z)
            sums = self.z.new_empty(len(self.z), n_sums, self.z.shape[1], dtype=torch.float32)
        if dense:
            dense_conv(self.hidden, block.conv2, out, domain, number, epilogue, sums)
        else:
            conv_at(self.hidden, block.conv2, out, domain, number, config, epilogue, precision=precision, sums=sums)
        if block.attention is not None and sums is not None:
            pixels = domain.height * domain.width
            if self.means is not None and self.means_given:
                sums = (self.means[self.blocks_launched] * pixels)[:, None].contiguous()
            elif self.means is not None:
                self.means[self.blocks_launched] = sums.sum(1) / pixels
            scale = attention_scale(block.attention, sums, pixels)
            add_scaled(self.z, out, scale, domain, number)

    def _closing_conv(self, conv: ConvWeights, start: Tensor) -> Tensor:
        """start + conv(z) everywhere, stored in `start`."""
        return dense_conv(self.z, conv, start, self.domains.first, 0, Epilogue(add=True))


def _clone(z: Tensor) -> Tensor:
    return z.clone(memory_format=torch.preserve_format)
