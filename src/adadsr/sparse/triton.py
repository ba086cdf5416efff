"""The Triton engine: a body ready to run on a GPU's tensor cores. `triton_pass` runs it.

Importing this module needs triton; `gpu.missing` says whether the engine can run. docs/performance.md has the design.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.sparse.body import Attention, Block, Body, BodyRun, Conv, Group, body_macs
from adadsr.sparse.triton_choice import CHOICES, Layer, choose
from adadsr.sparse.triton_launch import Blocking, Sites, Weights
from adadsr.sparse.triton_pass import BodySites, Pass, Plan, body_sites, layers
from adadsr.sparse.tuning import Choice, Tuner

TYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Types of features and weights."""


class TritonBlock(NamedTuple):
    """As `Block`; the attention in float32."""

    conv1: Weights
    conv2: Weights
    attention: Attention | None


class TritonGroup(NamedTuple):
    """As `Group`."""

    blocks: tuple[TritonBlock, ...]
    conv: Weights | None


class TritonBody:
    """`gather.run_gather` on tensor cores, in the type of the weights, added up in float32. Threads may share it."""

    def __init__(self, body: Body, tuner: Tuner[Blocking] = CHOICES, precision: str | None = None) -> None:
        """tuner: where choices are kept. precision: of products of float32, "tf32" or "ieee"; None for that of torch's
        convs (`torch.backends.cudnn.conv.fp32_precision`). Raises BackendError.
        """
        if precision not in (None, "tf32", "ieee"):
            raise BackendError(f"precision={precision!r} is not one of tf32, ieee")
        self.body, self.tuner = body, tuner
        cudnn_conv: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
        self.precision = precision or ("tf32" if cudnn_conv.fp32_precision == "tf32" else "ieee")
        self.channels, self.dtype = len(body.conv.bias), body.conv.weight.dtype
        if self.dtype not in TYPES:
            raise BackendError(f"the weights are {self.dtype}; the triton engine runs {', '.join(map(str, TYPES))}")
        self.groups = tuple(self._group(group) for group in body.groups)
        self.conv = self._weights(body.conv)
        self.n_blocks = max(len(group.blocks) for group in self.groups)
        self.attention = any(block.attention is not None for group in self.groups for block in group.blocks)
        if not all((block.attention is not None) == self.attention for group in self.groups for block in group.blocks):
            raise BackendError("some blocks have channel attention, some have none; the triton engine runs all alike")

    def __call__(
        self, z0: Tensor, depth_map: Tensor | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> BodyRun:
        """z0: (N, C, H, W) of the weights' type. depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for all.

        progress: called with the share of the blocks that is launched. Not differentiable. Raises InputError.
        Where a dense conv may be faster the lengths of the lists are read before the first block, to choose; nothing
        else waits for the device.
        """
        with self._running(z0, depth_map):
            z0, sites = z0.contiguous(memory_format=torch.channels_last), self._sites(z0, depth_map)
            z = Pass(self, z0, sites, self._plan(z0, sites), progress).run()
        batch, _, height, width = z0.shape
        return BodyRun(z, partial(body_macs, self.body, depth_map, batch, height, width))

    def plan(self, z0: Tensor, depth_map: Tensor | None) -> Plan:
        """Which convs are better run densely for this depth map. Waits for the device where that may be any."""
        with self._running(z0, depth_map):
            return self._plan(z0, self._sites(z0, depth_map))

    def run(self, z0: Tensor, depth_map: Tensor | None, plan: Plan) -> Tensor:
        """The features, by a plan made before, perhaps for another depth map. Does not wait for the device."""
        with self._running(z0, depth_map):
            z0 = z0.contiguous(memory_format=torch.channels_last)
            return Pass(self, z0, self._sites(z0, depth_map), plan, lambda share: None).run()

    @property
    def sparse_plan(self) -> Plan:
        """The plan without any dense conv."""
        return Plan((0,) * len(self.groups), (0,) * len(self.groups))

    @property
    def held(self) -> int:
        """Bytes of the weights, which the body's own tensors do not share."""
        convs = [self.conv, *(group.conv for group in self.groups if group.conv is not None)]
        convs += [conv for group in self.groups for block in group.blocks for conv in (block.conv1, block.conv2)]
        return sum(part.nbytes for conv in convs for part in conv)

    def choice(self, layer: Layer, z0: Tensor, side: int) -> Choice[Blocking]:
        """How the convs of the blocks in one layer run on features like z0; all of them have one shape."""
        weights = self.groups[0].blocks[0].conv1
        sites = Sites(z0.shape[2], z0.shape[3], side)
        return choose(self.tuner, weights, layer, z0, sites, self.precision)

    def _plan(self, z0: Tensor, sites: BodySites) -> Plan:
        both = layers(sites, attention=self.attention)
        starts = [self.choice(layer, z0, sites.first.side).break_even for layer in both]
        if math.inf in starts and starts[0] == starts[1]:
            return self.sparse_plan
        if sites.second.lists is None:
            return Plan(*(tuple(len(g.blocks) * (start <= 1) for g in self.groups) for start in starts))
        assert sites.first.lists is not None
        # One copy to the host, the only thing that a forward waits for.
        counts = torch.stack([sites.first.lists.counts, sites.second.lists.counts]).sum(1).cpu()
        places = len(z0) * sites.first.positions
        worth = [(count >= start * places).sum(-1).tolist() for count, start in zip(counts, starts, strict=True)]
        return Plan(tuple(worth[0]), tuple(worth[1]))

    def _sites(self, z0: Tensor, depth_map: Tensor | None) -> BodySites:
        return body_sites(depth_map, self.body.depth_tile, self.n_blocks, z0.shape[2], z0.shape[3])

    @contextmanager
    def _running(self, z0: Tensor, depth_map: Tensor | None) -> Iterator[None]:
        """Checks the arguments; inside, kernels go to their device, and no gradients are kept."""
        self._check(z0, depth_map)
        with torch.no_grad(), torch.cuda.device(z0.device if z0.device.type == "cuda" else -1):
            yield

    def _group(self, group: Group) -> TritonGroup:
        blocks = tuple(self._block(block) for block in group.blocks)
        return TritonGroup(blocks, None if group.conv is None else self._weights(group.conv))

    def _block(self, block: Block) -> TritonBlock:
        attention = block.attention
        if attention is not None:
            attention = Attention(*(Conv(*(part.detach().float().contiguous() for part in conv)) for conv in attention))
        return TritonBlock(self._weights(block.conv1), self._weights(block.conv2), attention)

    def _weights(self, conv: Conv) -> Weights:
        weight, bias = conv.weight.detach(), conv.bias.detach()
        if weight.shape != (self.channels, self.channels, 3, 3) or weight.dtype != self.dtype:
            raise BackendError(
                f"a conv has weights {tuple(weight.shape)} of {weight.dtype}; the triton engine runs 3x3 convs of "
                f"{self.channels} channels, all in {self.dtype}"
            )
        return Weights(weight.contiguous(memory_format=torch.channels_last), bias.float().contiguous())

    def _check(self, z0: Tensor, depth_map: Tensor | None) -> None:
        if z0.ndim != 4 or z0.shape[1] != self.channels or z0.dtype != self.dtype or not z0.numel():
            raise InputError(f"z0 is {tuple(z0.shape)} of {z0.dtype}, not (N, {self.channels}, H, W) of {self.dtype}")
        if depth_map is None:
            return
        wanted = (z0.shape[0], len(self.groups), *(-(-length // self.body.depth_tile) for length in z0.shape[-2:]))
        if tuple(depth_map.shape) != wanted or not depth_map.is_floating_point():
            raise InputError(
                f"depth_map is {tuple(depth_map.shape)} of {depth_map.dtype}, not {wanted} of floating point"
            )
