"""The parts of a network together: everything an engine needs to know."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from adadsr.errors import InputError
from adadsr.graph.ops import Array, Ops
from adadsr.graph.parts import AdapterWeights, BodyWeights, HeadWeights, TailWeights

GLOBAL_CONTEXT = 32
"""LR pixels read around a tile if every pixel depends on the whole image, as in RCAN."""
FAR_CONTEXT = 48
"""The same if a pixel depends on more of it than `LARGEST_CONTEXT`, as in ESRGAN: what is further matters little."""
LARGEST_CONTEXT = 80
"""LR pixels around a tile up to which tiles are exact: those of EDSR take 72, those of ESRGAN would take 350."""


class NetworkWeights(NamedTuple):
    """One network. kind: name in messages, such as `adaedsr`. adapter: None if it runs at full depth only."""

    kind: str
    head: HeadWeights
    adapter: AdapterWeights | None
    body: BodyWeights
    tail: TailWeights

    @property
    def scale(self) -> int:
        """Scale factor of height and width, of what the head sees as a pixel."""
        return self.tail.scale

    @property
    def image_channels(self) -> int:
        """Channels of the images that the head sees: 3, or 3 * u * u for squares of u x u pixels."""
        return int(self.head.conv.weight.shape[1])

    @property
    def square(self) -> int:
        """Side u of the squares of an image's pixels that the network sees as one pixel; 1 for most."""
        return math.isqrt(self.image_channels // 3)

    @property
    def channels(self) -> int:
        """Feature channels C between the parts."""
        return len(self.head.conv.bias)

    @property
    def n_blocks(self) -> int:
        """The largest depth, in blocks."""
        return self.body.n_blocks

    @property
    def n_groups(self) -> int:
        """Number of depth maps, one per group of blocks."""
        return len(self.body.groups)

    @property
    def depth_tile(self) -> int:
        """Side in LR pixels of the tiles that share one depth."""
        return self.body.depth_tile

    @property
    def predicts_losses(self) -> bool:
        """Whether the adapter predicts the PSNR that a depth map loses against full depth.

        With exits it learned from the network's own full output. Full depth has no error there, so PSNR is infinite,
        and so would be every loss.
        """
        return self.adapter is not None and self.adapter.predicts_errors and not self.body.exits

    @property
    def margin(self) -> int:
        """LR pixels around a tile in which the last block must have run."""
        return self.body.closing_reach + self.tail.reach

    @property
    def reach(self) -> int:
        """LR pixels around an LR pixel on which its SR pixels depend, not counting attention."""
        blocks = sum(block.reach for group in self.body.groups for block in group.blocks)
        return self.head.conv.reach + blocks + self.margin

    @property
    def has_exact_tiles(self) -> bool:
        """Whether `context` pixels around a tile make it equal to that part of the whole image."""
        return self.body.is_local and self.reach <= LARGEST_CONTEXT

    @property
    def context(self) -> int:
        """LR pixels to read around a tile."""
        if self.has_exact_tiles:
            return self.reach
        return FAR_CONTEXT if self.body.is_local else GLOBAL_CONTEXT

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of a depth map of an image: (G, ceil(H/t), ceil(W/t))."""
        return self.n_groups, -(-height // self.depth_tile), -(-width // self.depth_tile)

    def require_adapter(self) -> AdapterWeights:
        """The adapter. Raises InputError if the network has none."""
        if self.adapter is None:
            raise InputError(f"{self.kind} has no adapter, so it runs at full depth only; choose an adaptive model")
        return self.adapter

    def run(self, ops: Ops, lr: Array, depth_map: Array | None = None) -> Array:
        """The dense definition: (N, 3, H, W) in 0..255 -> (N, 3, s*H, s*W) in 0..255, neither rounded nor clipped.

        depth_map: see `BodyWeights.run`.
        """
        return self.restore(ops, lr, self.body.run(ops, self.head.run(ops, lr), depth_map))

    def restore(self, ops: Ops, lr: Array, z: Array) -> Array:
        """Tail, range and mean for features z (N, C, H, W) of the body. Returns the same as `run`."""
        return self.head.denormalise(ops, self.tail.run(ops, z, self.head.normalise(ops, lr)))


Part = TypeVar("Part")


def map_arrays(part: Part, function: Callable[[Array], Array]) -> Part:
    """The same part with `function` applied to each of its arrays."""

    def mapped(value: object) -> object:
        if hasattr(value, "shape"):
            return function(value)
        if not isinstance(value, tuple):
            return value
        parts: list[Any] = [mapped(item) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)

    return cast(Part, mapped(part))
