"""Networks as plain weights: parts and their definitions, gates, price, and depth maps for a budget.

ops          the few array operations that definitions are made of
blocks       one step of depth: weights, definition, reach and cost
parts        head, adapter, body and tail
network      the parts together
depth        gates and active sets of a depth map
price        multiply-accumulates of a depth map, part by part
calibration  from an adapter's scores to the depth map of a cost or a mean depth

Arrays are numpy's or torch's: a definition uses its `Ops` for everything beyond plain arithmetic.
"""

from adadsr.graph.blocks import Attention, Block, ConvWeights, PlainBlock, ResidualBlock, ResidualDenseBlock, Stage
from adadsr.graph.network import NetworkWeights, map_arrays
from adadsr.graph.ops import Array, Ops
from adadsr.graph.parts import (
    AdapterWeights,
    BodyWeights,
    GroupWeights,
    HeadWeights,
    NearestTail,
    PReLUConv,
    ResidualTail,
    ShuffleTail,
    TailWeights,
)
from adadsr.graph.price import Cost, price

__all__ = [
    "AdapterWeights",
    "Array",
    "Attention",
    "Block",
    "BodyWeights",
    "ConvWeights",
    "Cost",
    "GroupWeights",
    "HeadWeights",
    "NearestTail",
    "NetworkWeights",
    "Ops",
    "PReLUConv",
    "PlainBlock",
    "ResidualBlock",
    "ResidualDenseBlock",
    "ResidualTail",
    "ShuffleTail",
    "Stage",
    "TailWeights",
    "map_arrays",
    "price",
]
