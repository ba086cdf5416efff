"""Forward and backward passes of channel attention whose weights change, for training. numpy in, numpy out."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]


class Attention(NamedTuple):
    """Weights (R, C) and (C, R) and biases of `graph.Attention`, or their gradients."""

    squeeze: Floats
    squeeze_bias: Floats
    excite: Floats
    excite_bias: Floats


class AttentionPass:
    """One pass of attention over the update of a block, and once back."""

    def __init__(self, attention: Attention, update: Floats) -> None:
        """update: (N, H, W, C), 0 where the block does not run. Kept, and not to be changed before `backward`."""
        self.attention, self.update = attention, update
        self._means = _sums(update) / np.float32(update.shape[1] * update.shape[2])
        self._squeezed = np.maximum(self._means @ attention.squeeze.T + attention.squeeze_bias, np.float32(0))
        # As a hyperbolic tangent, which does not overflow.
        logits = self._squeezed @ attention.excite.T + attention.excite_bias
        self._scale: Floats = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * logits))

    def add(self, features: Floats, out: Floats) -> None:
        """out = features + the weighted update; all (N, H, W, C)."""
        np.multiply(self.update, self._scale[:, None, None], out=out)
        np.add(out, features, out=out)

    def backward(self, gradient: Floats, out: Floats) -> Attention:
        """From the gradient of what `add` returned to that of the update, into `out`, and those of the weights."""
        attention = self.attention
        by_scale = _sums(np.multiply(self.update, gradient, out=out))  # in memory that is there
        by_logits = by_scale * self._scale * (1 - self._scale)
        by_squeezed = (by_logits @ attention.excite) * (self._squeezed > 0)
        by_mean = (by_squeezed @ attention.squeeze) / np.float32(gradient.shape[1] * gradient.shape[2])
        np.multiply(gradient, self._scale[:, None, None], out=out)
        np.add(out, by_mean[:, None, None], out=out)
        return Attention(
            by_squeezed.T @ self._means, by_squeezed.sum(axis=0), by_logits.T @ self._squeezed, by_logits.sum(axis=0)
        )


def _sums(images: Floats) -> Floats:
    """Sum of each channel over each image, (N, C): of each row first, which rounds less than one long sum."""
    sums: Floats = images.sum(axis=2).sum(axis=1)
    return sums
