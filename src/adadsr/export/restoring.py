"""From the features of a frame to the image that leaves a graph."""

from adadsr.backends.tail_folding import fold_between, is_foldable
from adadsr.export.framing import FrameSize, ImageType
from adadsr.export.ops import NodeOps
from adadsr.export.values import BYTE, Value
from adadsr.graph import NetworkWeights, ShuffleTail
from adadsr.graph.parts import FULL_RANGE


def restore_image(network: NetworkWeights, frame: FrameSize, z: Value, lr: Value, kind: ImageType) -> Value:
    """Tail, range and mean for the features of a frame, (1, C, h, w); the SR image as it leaves the graph.

    lr: the input of the head, (1, 3, h, w). The tail enlarges the image only.
    """
    context = min(network.tail.reach, frame.border)
    start, ends = frame.border - context, [side + frame.border + context for side in (frame.height, frame.width)]
    z = z.slice([start, start], ends, [2, 3])
    ops = NodeOps(z.nodes)
    if is_foldable(network.tail) and network.tail.reach == context:
        tail_output = _shuffled(ops, network.tail, z)
    else:
        tail_output = network.tail.run(ops, z, lr.slice([start, start], ends, [2, 3]))
        crop = context * network.scale
        sizes = [side * network.scale + crop for side in (frame.height, frame.width)]
        tail_output = tail_output.slice([crop, crop], sizes, [2, 3])
    sr: Value = network.head.denormalise(ops, tail_output).clip(0, FULL_RANGE)
    return sr.nodes.op("Round", sr).cast(BYTE).transpose(0, 2, 3, 1) if kind.is_bytes else sr


def _shuffled(ops: NodeOps, tail: ShuffleTail, z: Value) -> Value:
    """The tail of an image, as one conv, for features with its reach around it. Nothing is padded."""
    # Stored as float32: the bundled convs are exact in float16, products of them are not.
    folded = fold_between(tail)
    return ops.pixel_shuffle(z.nodes.op("Conv", z, *map(z.nodes.constant, folded)), tail.scale)
