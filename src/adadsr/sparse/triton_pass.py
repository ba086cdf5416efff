"""One run of the Triton engine over one batch. Nothing here waits for the device, so that a graph can record it."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from adadsr.sparse.depth import dilate
from adadsr.sparse.lists import sorted_lists
from adadsr.sparse.triton_choice import Layer
from adadsr.sparse.triton_launch import (
    Epilogue,
    Sites,
    add_scaled,
    attention_scale,
    conv_at,
    dense_conv,
    multiprocessors,
    programs,
)

if TYPE_CHECKING:
    from adadsr.sparse.triton import TritonBlock, TritonBody


class BodySites(NamedTuple):
    """Where the first and the second convs of all groups run. Without lists it is everywhere."""

    first: Sites
    second: Sites


class Plan(NamedTuple):
    """Of each group's convs how many run densely, first and second ones: those of its first blocks.

    Active sets are nested, so what is worth a dense conv comes first.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]


def body_sites(depth_map: Tensor | None, side: int, n_blocks: int, height: int, width: int) -> BodySites:
    """depth_map: (N, G, ceil(H/side), ceil(W/side)) in blocks, None for full depth. n_blocks: the most of a group."""
    if depth_map is None:
        everywhere = Sites(height, width, side)
        return BodySites(everywhere, everywhere)
    depth_map = depth_map.float().contiguous()
    second = Sites(height, width, side, depth_map, sorted_lists(depth_map, n_blocks))
    if side > 1:
        return BodySites(second, second)
    reach = Sites(height, width, side, None, sorted_lists(dilate(depth_map), n_blocks))
    return BodySites(reach, second)


def layers(sites: BodySites, *, attention: bool) -> tuple[Layer, Layer]:
    """What follows a block's first and second conv. With tiles, features where none run are 0."""
    gated = sites.second.depth_map is not None
    masked = gated and sites.second.side > 1
    return Layer(Epilogue(relu=True, gated=masked), clear=masked), Layer(Epilogue(gated=gated, add=not attention))


class Pass:
    """The features of a batch on their way through a body."""

    def __init__(
        self, body: "TritonBody", z0: Tensor, sites: BodySites, plan: Plan, progress: Callable[[float], None]
    ) -> None:
        """z0: (N, C, H, W) channels_last; it is left alone. progress: called with the share of blocks launched."""
        self.body, self.sites, self.plan, self.progress = body, sites, plan, progress
        self.z0, self.z = z0, z0.clone(memory_format=torch.preserve_format)
        self.hidden = torch.zeros_like(z0)  # a dense conv may look where none ran
        self.update = torch.empty_like(z0) if body.attention else None
        self.layers = layers(sites, attention=body.attention)
        self.ways = [body.choice(layer, z0, sites.first.side).way for layer in self.layers]
        self.blocks, self.done = sum(len(group.blocks) for group in body.groups), 0

    def run(self) -> Tensor:
        """The features after the closing conv and the skip from z0."""
        for index, group in enumerate(self.body.groups):
            first, second = (replace(site, group=index) for site in self.sites)
            start = None if group.conv is None else self.z.clone(memory_format=torch.preserve_format)
            if self.layers[0].clear:
                self.hidden.zero_()
            for number, block in enumerate(group.blocks):
                self._first(block, first, number, dense=number < self.plan.first[index])
                self._second(block, second, number, dense=number < self.plan.second[index])
                self.done += 1
                self.progress(self.done / self.blocks)
            if group.conv is not None and start is not None:
                self.z = dense_conv(self.z, group.conv, start, first, 0, Epilogue(add=True))
        closed = self.z0.clone(memory_format=torch.preserve_format)
        return dense_conv(self.z, self.body.conv, closed, self.sites.first, 0, Epilogue(add=True))

    def _first(self, block: "TritonBlock", sites: Sites, number: int, *, dense: bool) -> None:
        layer, precision = self.layers[0], self.body.precision
        if dense:
            self.hidden = dense_conv(self.z, block.conv1, None, sites, number, layer.epilogue)
        else:
            conv_at(
                self.z, block.conv1, self.hidden, sites, number, self.ways[0], layer.epilogue,
                precision=precision, clear=layer.clear,
            )  # fmt: skip

    def _second(self, block: "TritonBlock", sites: Sites, number: int, *, dense: bool) -> None:
        epilogue, sums = self.layers[1].epilogue, None
        out = self.z if self.update is None else self.update
        if block.attention is not None:
            parts = 4 * multiprocessors(self.z.device) if dense else programs(self.ways[1], self.z)
            sums = self.z.new_empty(len(self.z), parts, self.z.shape[1], dtype=torch.float32)
        if dense:
            dense_conv(self.hidden, block.conv2, out, sites, number, epilogue, sums)
        else:
            conv_at(
                self.hidden, block.conv2, out, sites, number, self.ways[1], epilogue,
                precision=self.body.precision, sums=sums,
            )  # fmt: skip
        if block.attention is not None and sums is not None:
            scale = attention_scale(block.attention, sums, sites.height * sites.width)
            add_scaled(self.z, out, scale, sites, number)
