"""Price of a run: multiply-accumulates of the convolutions, part by part, as the definitions state them.

A price depends on the network, the size of the image and the depth map, never on the engine or the machine.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.graph.blocks import Block
from adadsr.graph.depth import DepthMap, active_counts, dilate
from adadsr.graph.network import NetworkWeights
from adadsr.graph.parts import BodyWeights

Counts: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of each part of a network."""

    head: int = 0
    adapter: int = 0
    body: int = 0
    tail: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return self.head + self.adapter + self.body + self.tail

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.head + other.head, self.adapter + other.adapter, self.body + other.body, self.tail + other.tail
        )


def price(network: NetworkWeights, height: int, width: int, depth_map: DepthMap | None = None) -> Cost:
    """Cost of one image of height x width LR pixels.

    depth_map: (G, ceil(H/t), ceil(W/t)) in blocks, made by the adapter, whose cost is included; None for the dense
    network, which does not run its adapter.
    """
    adapter = 0 if depth_map is None or network.adapter is None else network.adapter.macs(height, width)
    return Cost(
        head=network.head.macs(height, width),
        adapter=adapter,
        body=body_macs(network.body, height, width, None if depth_map is None else depth_map[None]),
        tail=network.tail.macs(height, width),
    )


def body_macs(body: BodyWeights, height: int, width: int, depth_map: DepthMap | None = None, batch: int = 1) -> int:
    """Multiply-accumulates of a body on a batch of images; see `BodyPrice.macs`."""
    return BodyPrice(body).macs(height, width, depth_map, batch)


class BodyPrice:
    """What a body costs at any depth map. Asks every block once, so that many maps can be priced quickly."""

    def __init__(self, body: BodyWeights) -> None:
        self._depth_tile = body.depth_tile
        self._groups = [_GroupPrice.of(group.blocks, body.depth_tile) for group in body.groups]
        convs = [group.conv for group in body.groups] + [body.conv]
        self._dense_macs = sum(conv.macs for conv in convs if conv is not None)

    def macs(self, height: int, width: int, depth_map: DepthMap | None = None, batch: int = 1) -> int:
        """Multiply-accumulates on a batch of images.

        depth_map: (N, G, ceil(H/t), ceil(W/t)) in blocks, None for full depth; then `batch` is N.
        """
        batch = batch if depth_map is None else len(depth_map)
        pixels = batch * height * width
        total = pixels * self._dense_macs
        for index, group in enumerate(self._groups):
            if depth_map is None:
                total += group.full(pixels, batch)
            else:
                total += group.at(depth_map[:, index], self._depth_tile, pixels)
        return total


class _GroupPrice(NamedTuple):
    """Multiply-accumulates of the blocks of a group, one entry for each block.

    sparse: per position, of the stages of each dilation. everywhere: per pixel, of blocks that are not sparse. images:
    per image.
    """

    sparse: dict[int, Counts]
    everywhere: Counts
    images: Counts

    @classmethod
    def of(cls, blocks: tuple[Block, ...], depth_tile: int) -> "_GroupPrice":
        sparse: dict[int, Counts] = {0: np.zeros(len(blocks), np.int64)}
        everywhere, images = np.zeros(len(blocks), np.int64), np.zeros(len(blocks), np.int64)
        for number, block in enumerate(blocks):
            images[number] = block.image_macs
            for stage in block.stages:
                if block.is_sparse(depth_tile):
                    sparse.setdefault(stage.dilation, np.zeros(len(blocks), np.int64))[number] += stage.macs
                else:
                    everywhere[number] += stage.macs
        return cls(sparse, everywhere, images)

    def full(self, pixels: int, batch: int) -> int:
        """At full depth."""
        per_pixel = sum(int(macs.sum()) for macs in (*self.sparse.values(), self.everywhere))
        return pixels * per_pixel + batch * int(self.images.sum())

    def at(self, depths: DepthMap, depth_tile: int, pixels: int) -> int:
        """At depths (N, h, w). pixels: of all images.

        Tiles count whole even if they overhang the border, except in blocks that are active everywhere, which run
        densely, and in those that are not sparse.
        """
        blocks = len(self.images)
        active = active_counts(depths, blocks)
        total = int((pixels * self.everywhere + len(depths) * self.images)[active > 0].sum())
        if depth_tile > 1:
            positions = np.where(active == depths.size, pixels, active * depth_tile**2)
            return total + int(positions @ sum(self.sparse.values()))
        for dilation, macs in self.sparse.items():
            total += int(active_counts(dilate(depths, dilation), blocks) @ macs)
        return total
