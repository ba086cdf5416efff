"""From the features of a frame to the image that leaves a graph."""

from adadsr.backends.native.tail_folding import EDGE_CASES, fold_tail
from adadsr.export.framing import FrameSize, ImageType
from adadsr.export.ops import NodeOps
from adadsr.export.values import BYTE, Value
from adadsr.graph import NetworkWeights, ShuffleTail
from adadsr.graph.parts import FULL_RANGE

INNER = EDGE_CASES.index((5, 2)) * (len(EDGE_CASES) + 1)
"""Index of the folded conv for pixels whose surroundings lie in the image."""


def restore_image(network: NetworkWeights, frame: FrameSize, z: Value, lr: Value, kind: ImageType) -> Value:
    """Tail, range and mean for the features of a frame, (1, C, h, w); the SR image as it leaves the graph.

    lr: the input of the head, (1, 3, h, w). The tail enlarges the image only.
    """
    context = min(network.tail.reach, frame.border)
    start, ends = frame.border - context, [side + frame.border + context for side in (frame.height, frame.width)]
    z = z.slice([start, start], ends, [2, 3])
    ops = NodeOps(z.nodes)
    if isinstance(network.tail, ShuffleTail) and network.tail.reach == context:
        tail_output = _shuffled(ops, network.tail, z)
    else:
        tail_output = network.tail.run(ops, z, lr.slice([start, start], ends, [2, 3]))
        crop = context * network.scale
        sizes = [side * network.scale + crop for side in (frame.height, frame.width)]
        tail_output = tail_output.slice([crop, crop], sizes, [2, 3])
    sr: Value = network.head.denormalise(ops, tail_output).clip(0, FULL_RANGE)
    return sr.nodes.op("Round", sr).cast(BYTE).transpose(0, 2, 3, 1) if kind.is_bytes else sr


def _shuffled(ops: NodeOps, tail: ShuffleTail, z: Value) -> Value:
    """The tail of an image for features with its reach around it. Nothing is padded, and the last convs are one."""
    *earlier, (last_up, last_factor) = zip(tail.convs, tail.factors, strict=True)
    for conv, factor in earlier:
        z = ops.pixel_shuffle(z.nodes.op("Conv", z, *map(z.nodes.weight, conv)), factor)
    # Always stored as float32: float16 holds the two convs, but not what they make together.
    folded = fold_tail(last_up, last_factor, tail.last)[INNER]
    return ops.pixel_shuffle(z.nodes.op("Conv", z, *map(z.nodes.constant, folded)), last_factor)
