"""From an image to the frame that the network sees, and from its result to an image.

A frame is the image continued by reflection, as in `upscaler.frame`, so that networks do not see zeros at its border.
"""

from typing import Any, NamedTuple, TypeAlias

from adadsr.export.nodes import Nodes
from adadsr.export.values import FLOAT, INT, Value
from adadsr.graph import NetworkWeights
from adadsr.upscaler.frame import Frame, reflected

Side: TypeAlias = Any
"""A number of pixels or tiles: a `Value`, or an int if it is known."""


class ImageType(NamedTuple):
    """How images enter and leave a graph: channels last in uint8, or channels first in float32; both in 0..255."""

    name: str
    is_bytes: bool

    def shape(self, height: int | str, width: int | str) -> tuple[int | str, ...]:
        """Shape of an image of this size."""
        return (1, height, width, 3) if self.is_bytes else (1, 3, height, width)

    def channels_first(self, image: Value) -> Value:
        """An image as it enters, (1, 3, H, W)."""
        return image.transpose(0, 3, 1, 2) if self.is_bytes else image


IMAGE_TYPES = {each.name: each for each in (ImageType("uint8", True), ImageType("float32", False))}
"""Name -> type of images."""


class FrameSize(NamedTuple):
    """Sizes of an image in its frame. height, width: of the image. border: of the frame."""

    height: Side
    width: Side
    border: int

    @property
    def size(self) -> tuple[Side, Side]:
        """(height, width) of the frame."""
        return self.height + 2 * self.border, self.width + 2 * self.border

    def map_size(self, depth_tile: int) -> tuple[Side, Side]:
        """(height, width) of the image's depth map."""
        rows, columns = ((side + (depth_tile - 1)) // depth_tile for side in (self.height, self.width))
        return rows, columns

    def extended_map(self, depth_map: Value, depth_tile: int) -> Value:
        """A depth map of the image, (1, G, h, w), for the frame: the border is as deep as the tile next to it."""
        tiles = self.border // depth_tile
        for axis, side in zip((2, 3), self.map_size(depth_tile), strict=True):
            number = depth_map.nodes.count(side + tiles, -tiles)
            depth_map = depth_map.take(number.maximum(0).minimum(side - 1), axis)
        return depth_map


def border_of(network: NetworkWeights) -> int:
    """Width of the border around images, in LR pixels."""
    return Frame.of(1, 1, "reflect", network).border


def frame_image(
    image: Value, kind: ImageType, network: NetworkWeights, height: int | None = None, width: int | None = None
) -> tuple[Value, FrameSize]:
    """An image that enters the graph, in its frame: (1, 3, h, w) in 0..255; height, width: None for any size."""
    image = kind.channels_first(image)
    border = border_of(network)
    frame = FrameSize(height or image.size(2), width or image.size(3), border)
    if height is not None and width is not None and min(height, width) > border:
        # An operator that runtimes with fixed shapes know; it cannot reflect a side more than once.
        image = image.cast(FLOAT)
        sides = image.nodes.ints(0, 0, border, border, 0, 0, border, border)
        return image.nodes.op("Pad", image, sides, mode="reflect"), frame
    for axis, side in ((2, frame.height), (3, frame.width)):
        image = image.take(_reflected(image.nodes, side, border), axis)
    return image.cast(FLOAT), frame


def _reflected(nodes: Nodes, side: Side, border: int) -> Value:
    """Index of the pixel that is seen at -border, ..., side + border - 1, reflected as often as necessary."""
    if isinstance(side, int):
        return nodes.constant(reflected(side, border, side + border), INT)
    period = ((side - 1) * 2).maximum(1)
    index: Value = nodes.count(side + border, -border) % period
    return index.minimum(period - index)
