"""A network as an ONNX model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from adadsr import __version__
from adadsr.errors import ExportError, InputError
from adadsr.export.body import run_body
from adadsr.export.calibration import Calibrated, LimitValues, desired_depth, family_for, fit, with_colors
from adadsr.export.framing import IMAGE_TYPES, FrameSize, frame_image
from adadsr.export.nodes import IR_VERSION, OPSET, Nodes, Port
from adadsr.export.ops import NodeOps
from adadsr.export.pricing import FramePrice
from adadsr.export.restoring import restore_image
from adadsr.export.values import DOUBLE, FLOAT, INDEX, Value
from adadsr.graph import NetworkWeights
from adadsr.graph.parts import AdapterWeights

LIMITS = ("budget", "max_loss")
"""Inputs of adaptive networks, (1,) in float32; `max_loss` only if the network predicts losses."""


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


def limits_of(network: NetworkWeights, form: Form) -> tuple[str, ...]:
    """The inputs of a file that limit what it computes; see `LIMITS`."""
    if network.adapter is None or form.dense:
        return ()
    return LIMITS if network.predicts_losses else LIMITS[:1]


def to_onnx(network: NetworkWeights, form: Form, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model. metadata: what it says about itself. Raises ExportError, which names the part that cannot be exported.

    Input `image`, and for adaptive networks `limits_of` them. Output `upscaled`, and for adaptive networks
    `depth_map`, (1, G, ceil(H/t), ceil(W/t)) in float32, in blocks; `share`, (1,) in float32: the executed share of
    the dense network's cost; and `predicted_loss`, (1,) in float32, in dB, if the network predicts losses.
    """
    check_head(network)
    nodes, kind = Nodes(half=form.half), IMAGE_TYPES[form.image]
    image = nodes.input("image", np.uint8 if kind.is_bytes else np.float32)
    width, height = form.size or (None, None)
    lr, frame = frame_image(image, kind, network, height, width)
    inputs = [Port("image", image, kind.shape(height or "height", width or "width"))]
    ops = NodeOps(nodes)
    z0 = network.head.run(ops, lr)
    outputs: list[Port] = []
    if network.adapter is None or form.dense:
        z = network.body.run(ops, z0)
    else:
        limits = [Port(name, nodes.input(name, FLOAT), (1,)) for name in limits_of(network, form)]
        inputs += limits
        z, outputs = _adaptive_body(
            network, network.adapter, frame, lr, z0, LimitValues.of(*(port.value.reshape() for port in limits))
        )
    upscaled = restore_image(network, frame, z, network.head.normalise(ops, lr), kind)
    scaled = [side and side * network.scale for side in (height, width)]
    outputs.insert(0, Port("upscaled", upscaled, kind.shape(scaled[0] or "out_height", scaled[1] or "out_width")))
    return model_of(nodes, network.kind, inputs, outputs, metadata)


def check_head(network: NetworkWeights) -> None:
    """Raise ExportError for a head that sees squares of pixels."""
    if network.square > 1:
        raise ExportError(f"{network.kind} begins with PixelUnshuffle, which cannot be exported")


def model_of(
    nodes: Nodes, name: str, inputs: Sequence[Port], outputs: Sequence[Port], metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """A graph as a model. metadata: see `to_onnx`."""
    model = helper.make_model(
        nodes.finish(name, inputs, outputs),
        producer_name="adadsr",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _adaptive_body(
    network: NetworkWeights, adapter: AdapterWeights, frame: FrameSize, lr: Value, z0: Value, limits: LimitValues
) -> tuple[Value, list[Port]]:
    """Features after the body, and the outputs of the plan."""
    tile = network.depth_tile

    def calibrated() -> Calibrated:
        price, edge = price_of(network, frame), frame.border // tile
        scores = adapter.run(NodeOps(z0.nodes), z0, desired_depth(network, price, limits))
        scores = with_colors(network, scores, lr)
        scores = scores.slice([edge, edge], [side + edge for side in frame.map_size(tile)], [2, 3])
        return fit(family_for(network, scores), price, limits)

    plan = plan_within(network, frame, limits, calibrated)
    height, width = frame.size
    z = run_body(network.body, z0, frame.extended_map(plan.depths, tile), height, width)
    return z, plan_ports(network, plan)


def plan_within(
    network: NetworkWeights, frame: FrameSize, limits: LimitValues, calibrated: Callable[[], Calibrated]
) -> Calibrated:
    """Full depth if there is no limit, otherwise what `calibrated` gives, which only then is computed."""
    nodes = limits.budget.nodes

    def everything() -> list[Value]:
        blocks = nodes.constant(network.n_blocks, INDEX)
        full = nodes.full(blocks, 1, network.n_groups, *frame.map_size(network.depth_tile))
        return [full, nodes.constant(1, DOUBLE), nodes.constant(0, DOUBLE)]

    return Calibrated(*nodes.branch(limits.are_none, everything, lambda: list(calibrated())))


def price_of(network: NetworkWeights, frame: FrameSize) -> FramePrice:
    """The price of depth maps that the adapter makes."""
    tile = network.depth_tile
    height, width = ((side + (tile - 1)) // tile for side in frame.size)
    return FramePrice(network, frame, (height * width).cast(DOUBLE) * network.require_adapter().macs(1, 1))


def plan_ports(network: NetworkWeights, plan: Calibrated) -> list[Port]:
    """The outputs that describe a plan."""
    ports = [
        Port("depth_map", plan.depths.cast(FLOAT), (1, network.n_groups, "map_height", "map_width")),
        Port("share", plan.share.cast(FLOAT).reshape(1), (1,)),
    ]
    if network.predicts_losses:
        ports.append(Port("predicted_loss", plan.predicted_loss.cast(FLOAT).reshape(1), (1,)))
    return ports
