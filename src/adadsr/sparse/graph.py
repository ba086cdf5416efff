"""CUDA graphs: what a function launches, recorded once, and launched again as a whole."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Runs before a recording: kernels are compiled and measured, libraries get their workspaces."""


def record(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A graph of what `run` launches on the current device. It is run a few times first.

    Nothing in it may wait for the device; torch raises RuntimeError where something does.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads go on using the device
        run()
    return graph


class Captured:
    """A function of tensors of fixed shapes as a CUDA graph. Not for several threads at once.

    The result of a call is overwritten by the next one.
    """

    _output: Tensor

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor) -> None:
        """function: from CUDA tensors to one, without waiting for the device. examples: tensors like its arguments."""
        self._inputs = tuple(example.clone() for example in examples)
        with torch.inference_mode():
            self._graph = record(lambda: setattr(self, "_output", function(*self._inputs)))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of tensors of the examples' shapes and types."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._output
