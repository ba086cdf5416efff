"""A network as an ONNX model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from adadsr import __version__
from adadsr.errors import ExportError, InputError
from adadsr.export.body import run_body
from adadsr.export.calibration import Calibrated, family_for, fit_budget
from adadsr.export.framing import IMAGE_TYPES, Framed, frame_image
from adadsr.export.nodes import IR_VERSION, OPSET, Nodes, Port
from adadsr.export.ops import NodeOps
from adadsr.export.pricing import FramePrice
from adadsr.export.restoring import restore_image
from adadsr.export.values import DOUBLE, FLOAT, INDEX, Value
from adadsr.graph import NetworkWeights
from adadsr.graph.parts import AdapterWeights


@dataclass(frozen=True)
class Form:
    """The form of an exported network.

    image: type of images, a key of `IMAGE_TYPES`. half: store weights as float16; they are computed with in float32.
    dense: at full depth only, even if there is an adapter. size: (width, height) of the only image size that a dense
    network takes, for runtimes without varying shapes; None for any.
    """

    image: str = "uint8"
    half: bool = False
    dense: bool = False
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.image not in IMAGE_TYPES:
            raise InputError(f"image={self.image!r} is not one of {', '.join(IMAGE_TYPES)}")
        if self.size is not None and not self.dense:
            raise InputError("size without dense: only dense networks can be exported for one size")
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"size={self.size[0]}x{self.size[1]} must be at least 1x1")


def to_onnx(network: NetworkWeights, form: Form, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model. metadata: what it says about itself. Raises ExportError, which names the part that cannot be exported.

    Input `image`, and for adaptive networks `budget`, (1,) in float32. Output `upscaled`, and for adaptive networks
    `depth_map`, (1, G, ceil(H/t), ceil(W/t)) in float32, in blocks, and `share`, (1,) in float32: the executed share of
    the dense network's cost.
    """
    if network.square > 1:
        raise ExportError(f"{network.kind} begins with PixelUnshuffle, which cannot be exported")
    nodes, kind = Nodes(half=form.half), IMAGE_TYPES[form.image]
    image = nodes.input("image", np.uint8 if kind.is_bytes else np.float32)
    width, height = form.size or (None, None)
    framed = frame_image(image, kind, network, height, width)
    inputs = [Port("image", image, kind.shape(height or "height", width or "width"))]
    ops = NodeOps(nodes)
    lr = network.head.normalise(ops, framed.lr)
    z0 = network.head.run(ops, framed.lr)
    outputs: list[Port] = []
    if network.adapter is None or form.dense:
        z = network.body.run(ops, z0)
    else:
        budget = nodes.input("budget", FLOAT)
        inputs.append(Port("budget", budget, (1,)))
        z, outputs = _adaptive_body(network, network.adapter, framed, z0, budget.reshape())
    upscaled = restore_image(network, framed, z, lr, kind)
    scaled = [side and side * network.scale for side in (height, width)]
    outputs.insert(0, Port("upscaled", upscaled, kind.shape(scaled[0] or "out_height", scaled[1] or "out_width")))
    graph = nodes.finish(network.kind, inputs, outputs)
    model = helper.make_model(
        graph,
        producer_name="adadsr",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _adaptive_body(
    network: NetworkWeights, adapter: AdapterWeights, framed: Framed, z0: Value, budget: Value
) -> tuple[Value, list[Port]]:
    """Features after the body, and the outputs of depth map and share."""
    if network.depth_tile == 1:
        raise ExportError(f"{network.kind} has one depth per pixel, which cannot be exported; export one with tiles")
    nodes = z0.nodes
    height, width = framed.size

    def everything() -> list[Value]:
        full = nodes.full(
            nodes.constant(network.n_blocks, INDEX), 1, network.n_groups, *framed.map_size(network.depth_tile)
        )
        return [full, nodes.constant(1, DOUBLE)]

    def calibrated() -> list[Value]:
        return list(_calibrated(network, adapter, framed, z0, budget))

    depths, share = nodes.branch(budget >= 1, everything, calibrated)
    z = run_body(network.body, z0, framed.extended_map(depths, network.depth_tile), height, width)
    varying = (1, network.n_groups, "map_height", "map_width")
    return z, [
        Port("depth_map", depths.cast(FLOAT), varying),
        Port("share", share.cast(FLOAT).reshape(1), (1,)),
    ]


def _calibrated(
    network: NetworkWeights, adapter: AdapterWeights, framed: Framed, z0: Value, budget: Value
) -> Calibrated:
    """The adapter's depth map for a budget below 1."""
    nodes, tile = z0.nodes, network.depth_tile
    scores = adapter.run(NodeOps(nodes), z0, nodes.constant([0], FLOAT))
    edge = framed.border // tile
    scores = scores.slice([edge, edge], [side + edge for side in framed.map_size(tile)], [2, 3])
    height, width = ((side + (tile - 1)) // tile for side in framed.size)
    macs = (height * width).cast(DOUBLE) * adapter.macs(1, 1)
    price = FramePrice(network, framed, macs)
    return fit_budget(family_for(network, scores), price, budget.cast(DOUBLE))
