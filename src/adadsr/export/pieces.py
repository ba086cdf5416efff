"""A network as three ONNX models, for programs that cut images into tiles as `upscaler.tiled_run` does.

scores    a window of the frame -> scores of the adapter
plan      scores of a whole image and limits -> depth map
tile      a window of the frame and its depth map -> the SR image of the window without its border

The program reflects the image at its border, and keeps of each window what its context makes exact (`Cutting`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from adadsr.errors import ExportError
from adadsr.export.body import run_body
from adadsr.export.calibration import Calibrated, LimitValues, family_for, fit, with_colors
from adadsr.export.framing import IMAGE_TYPES, FrameSize, border_of
from adadsr.export.network import LIMITS, check_head, model_of, plan_ports, plan_within, price_of
from adadsr.export.nodes import Nodes, Port
from adadsr.export.ops import NodeOps
from adadsr.export.restoring import restore_image
from adadsr.export.values import FLOAT, INDEX, INT
from adadsr.geometry import Box
from adadsr.graph import NetworkWeights
from adadsr.tiling import Tile, depth_cap
from adadsr.upscaler.memory import ALIGNMENT
from adadsr.upscaler.plan import hidden_reach

IMAGE = IMAGE_TYPES["uint8"]


@dataclass(frozen=True)
class Cutting:
    """How to cut images, in LR pixels.

    border: what an image is continued by. score_context, context: what a window has around the part that is kept of
    its scores, and of its image; multiples of `depth_tile`. caps: number of blocks that a position must have run, by
    its distance from that part, up to the distance at which it is 0.
    """

    border: int
    depth_tile: int
    score_context: int
    context: int
    caps: tuple[int, ...]

    @classmethod
    def of(cls, network: NetworkWeights) -> "Cutting":
        """That of a network. Raises ExportError if it cannot be cut exactly."""
        if not network.has_exact_tiles:
            raise ExportError(
                f"{network.kind} cannot be cut into tiles: a pixel of its body depends on too many others"
            )
        adapter = network.require_adapter()
        context = _aligned(network.context)
        line = Tile(Box(0, 0, 1, 1), Box(0, 0, 1, context + 1))
        reaches = [block.reach for block in network.body.blocks]
        caps = depth_cap(line, reaches, network.margin + hidden_reach(network), 1)[0]
        return cls(
            border_of(network),
            network.depth_tile,
            _aligned(adapter.reach + network.head.conv.reach),
            context,
            tuple(int(cap) for cap in caps[: np.count_nonzero(caps) + 1]),
        )


def _aligned(pixels: int) -> int:
    return -(-pixels // ALIGNMENT) * ALIGNMENT


def to_pieces(
    network: NetworkWeights, metadata: Mapping[str, str], *, half: bool = False
) -> dict[str, onnx.ModelProto]:
    """The three models by name. half: store weights as float16. Raises ExportError as `to_onnx` does."""
    check_head(network)
    if network.adapter is None or not network.adapter.predicts_errors:
        raise ExportError(f"{network.kind} has no adapter that predicts errors, so it cannot be exported in pieces")
    return {
        "scores": _scores(network, metadata, half),
        "plan": _plan(network, metadata),
        "tile": _tile(network, metadata, half),
    }


def _scores(network: NetworkWeights, metadata: Mapping[str, str], half: bool) -> onnx.ModelProto:
    """`image`, uint8 (1, h, w, 3), a window -> `scores`, (1, K, ceil(h/t), ceil(w/t))."""
    nodes, ops = (graph := Nodes(half=half)), NodeOps(graph)
    image = nodes.input("image", np.uint8)
    lr = IMAGE.channels_first(image).cast(FLOAT)
    scores = network.require_adapter().run(ops, network.head.run(ops, lr), nodes.constant([0], FLOAT))
    scores = with_colors(network, scores, lr)
    shape = 1, network.require_adapter().n_scores, "map_height", "map_width"
    inputs = [Port("image", image, IMAGE.shape("height", "width"))]
    return model_of(nodes, f"{network.kind} scores", inputs, [Port("scores", scores, shape)], metadata)


def _plan(network: NetworkWeights, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """`scores` of an image, its `size`, (2,) of int64 (height, width), `budget`, `max_loss` -> as `to_onnx`, and
    `gmacs` of the dense network, (1,)."""
    nodes = Nodes()
    scores, size = nodes.input("scores", FLOAT), nodes.input("size", INT)
    given = [nodes.input(name, FLOAT) for name in LIMITS]
    frame = FrameSize(size[0], size[1], border_of(network))
    limits, price = LimitValues.of(*(value.reshape() for value in given)), price_of(network, frame)

    def calibrated() -> Calibrated:
        return fit(family_for(network, scores), price, limits)

    outputs = plan_ports(network, plan_within(network, frame, limits, calibrated))
    gmacs = (price.dense / 1e9).cast(FLOAT).reshape(1)
    shape = 1, network.require_adapter().n_scores, "map_height", "map_width"
    inputs = [Port("scores", scores, shape), Port("size", size, (2,))]
    inputs += [Port(name, value, (1,)) for name, value in zip(LIMITS, given, strict=True)]
    return model_of(nodes, f"{network.kind} plan", inputs, [*outputs, Port("gmacs", gmacs, (1,))], metadata)


def _tile(network: NetworkWeights, metadata: Mapping[str, str], half: bool) -> onnx.ModelProto:
    """`image`, uint8 (1, h, w, 3), a window, and `depth_map`, (1, G, ceil(h/t), ceil(w/t)) in blocks -> `upscaled`."""
    nodes, ops = (graph := Nodes(half=half)), NodeOps(graph)
    image, depth_map = nodes.input("image", np.uint8), nodes.input("depth_map", FLOAT)
    lr = IMAGE.channels_first(image).cast(FLOAT)
    height, width, border = lr.size(2), lr.size(3), border_of(network)
    z = run_body(network.body, network.head.run(ops, lr), depth_map.cast(INDEX), height, width)
    frame = FrameSize(height - 2 * border, width - 2 * border, border)
    upscaled = restore_image(network, frame, z, network.head.normalise(ops, lr), IMAGE)
    inputs = [
        Port("image", image, IMAGE.shape("height", "width")),
        Port("depth_map", depth_map, (1, network.n_groups, "map_height", "map_width")),
    ]
    outputs = [Port("upscaled", upscaled, IMAGE.shape("out_height", "out_width"))]
    return model_of(nodes, f"{network.kind} tile", inputs, outputs, metadata)
