"""Memory that a network needs per pixel, found by running its definitions on tensors without data."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adadsr.graph import Array, ConvWeights, NetworkWeights, map_arrays
from adadsr.tensor_ops import OPS

SIDE = 8
"""Side of the image that definitions run on; what they need grows with its pixels."""


class _Peak(TorchDispatchMode):
    """The largest sum of the sizes of tensors that live at once, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._live[storage._cdata] = _weak(storage), storage.nbytes()
        self._live = {key: entry for key, entry in self._live.items() if not _is_freed(entry[0])}
        self.bytes = max(self.bytes, sum(size for _, size in self._live.values()))
        return result


def _weak(storage: torch.UntypedStorage) -> StorageWeakRef:
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def _is_freed(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]


def body_values(network: NetworkWeights) -> float:
    """Values per pixel that a body holds at once, besides its input and its result."""
    channels, body = network.channels, map_arrays(network.body, _without_data)
    buffers = 2 * channels + 1 + (0 if body.groups[0].conv is None else channels)  # see `gather`
    forms = {tuple(stage.macs for stage in block.stages): block for block in body.blocks}.values()
    needs = [values_per_pixel(partial(block.run, OPS), channels, 1) for block in forms]
    return buffers + max(needs)


def tail_values(network: NetworkWeights) -> float:
    """Values per LR pixel that a tail holds at once, its result in 0..255 included."""
    tail = map_arrays(network.tail, _without_data)
    result = 3 * network.scale**2
    return result + values_per_pixel(partial(tail.run, OPS), network.channels, 3)


def folded_values(network: NetworkWeights) -> float:
    """The same for a tail that runs as one conv, without the outermost pixels, which run by the definition."""
    outputs = 3 * network.scale**2
    side = 2 * network.tail.reach + 1
    folded = ConvWeights(
        *(torch.empty(shape, device="meta") for shape in ((outputs, network.channels, side, side), outputs))
    )
    return outputs + values_per_pixel(lambda z: F.pixel_shuffle(folded.run(OPS, z), network.scale), network.channels)


def _without_data(array: Array) -> Tensor:
    return torch.empty(tuple(array.shape), device="meta")


def values_per_pixel(run: Callable[..., Any], *channels: int) -> float:
    """Peak number of values per pixel while `run` is called with images of these numbers of channels, all included.

    run: takes tensors (1, C, H, W) on the `meta` device, one for each of `channels`, and holds weights there.
    """
    peak = _Peak()
    with torch.inference_mode(False), torch.no_grad(), peak:
        run(*(torch.empty(1, count, SIDE, SIDE, device="meta") for count in channels))
    return peak.bytes / 4 / SIDE**2
