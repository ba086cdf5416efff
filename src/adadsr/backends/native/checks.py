"""What every conv of the native engine has to be."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adadsr.errors import BackendError
from adadsr.graph import ConvWeights

Arrays: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weight and bias of a conv, contiguous."""


def checked(conv: ConvWeights, name: str, side: int = 3) -> Arrays:
    """Weight (out, in, side, side) and bias (out,) of a conv, contiguous. name: of the conv, for the error.

    Raises BackendError if the kernel has another size or the weights are not float32.
    """
    weight = np.asarray(conv.weight)
    if weight.shape[2:] != (side, side) or weight.dtype != np.float32:
        raise BackendError(
            f"{name} has weights {weight.shape} of {weight.dtype}; the native engine needs (out, in, {side}, {side}) "
            "of float32"
        )
    return np.ascontiguousarray(weight), np.ascontiguousarray(conv.bias)
