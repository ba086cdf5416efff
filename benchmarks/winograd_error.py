"""Errors of Winograd's convs in float32: F(4x4, 3x3) as the native engine has it, and the best F(6x6, 3x3) of many.

`python benchmarks/winograd_error.py`. An error is the largest of a conv of 64 channels of 24x24 pixels in three random
draws, against float64, as a multiple of that of torch's float32 conv. Transforms and products are numpy's: what is
compared is the algorithms, whose points are 0, some pairs of +-p, and infinity. The last line is JSON.
"""

import itertools
import json
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F

CHANNELS, SIDE, DRAWS, TAPS = 64, 24, 3, 3
OURS = (0.5**0.5, 2**0.5)
GRID = (np.arange(0.3, 0.85, 0.1), np.arange(0.7, 1.31, 0.1), np.arange(1.2, 2.6, 0.2))


class Algorithm(NamedTuple):
    """tile = after^T [(weights g weights^T) * (before window before^T)] after, summed over channels."""

    before: np.ndarray
    weights: np.ndarray
    after: np.ndarray


class Case(NamedTuple):
    """A conv, its exact result, and the error of torch's float32."""

    features: np.ndarray
    weight: np.ndarray
    exact: np.ndarray
    direct: float


def algorithm(pairs: tuple[float, ...]) -> Algorithm:
    """Winograd's algorithm for the points 0, +-each of the pairs, and infinity (Toom and Cook's construction)."""
    points = np.array([0.0, *(sign * value for value in pairs for sign in (1, -1))])
    size, tile = len(points) + 1, len(points) + 2 - TAPS

    def powers(columns: int) -> np.ndarray:
        infinity = np.eye(1, columns, columns - 1)
        return np.vstack([np.vander(points, columns, increasing=True), infinity])

    after, weights = powers(tile), powers(TAPS)
    products = np.einsum("ik,ij->kji", after, weights).reshape(-1, size)
    wanted = np.array([np.eye(size)[k + j] for k in range(tile) for j in range(TAPS)])
    before = np.linalg.lstsq(products, wanted, rcond=None)[0]
    # Rows of both may be scaled against each other; alike they round best.
    ratio = np.sqrt(np.linalg.norm(weights, axis=1) / np.linalg.norm(before, axis=1))[:, None]
    return Algorithm(before * ratio, weights / ratio, after)


def conv(case: Case, chosen: Algorithm, dtype: type) -> np.ndarray:
    """The conv by an algorithm in a floating type; weights are transformed in float64. The tile divides the side."""
    size, tile = chosen.after.shape
    padded = np.pad(case.features, ((0, 0), (1, 1), (1, 1))).astype(dtype)
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::tile, ::tile]
    before, after = chosen.before.astype(dtype), chosen.after.astype(dtype)
    weights = np.einsum("iy,ocyx,jx->ijoc", chosen.weights, case.weight.astype(float), chosen.weights).astype(dtype)
    points = (before @ windows @ before.T).transpose(3, 4, 0, 1, 2)
    rows, columns = points.shape[-2:]
    sums = weights @ points.reshape(size, size, CHANNELS, rows * columns)
    tiles = after.T @ sums.transpose(3, 2, 0, 1) @ after
    tiles = tiles.reshape(rows, columns, CHANNELS, tile, tile).transpose(2, 0, 3, 1, 4)
    return tiles.reshape(CHANNELS, SIDE, SIDE)


def draw(seed: int) -> Case:
    """A random conv without bias."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, CHANNELS, SIDE, SIDE, generator=generator)
    weight = torch.randn(CHANNELS, CHANNELS, TAPS, TAPS, generator=generator) / (TAPS**2 * CHANNELS) ** 0.5
    exact = F.conv2d(features.double(), weight.double(), padding=1)
    direct = float((F.conv2d(features, weight, padding=1) - exact).abs().max())
    return Case(features[0].numpy(), weight.numpy(), exact[0].numpy(), direct)


def main() -> None:
    """Measure ours, then all points of the grid."""
    cases = [draw(seed) for seed in range(DRAWS)]

    def error(pairs: tuple[float, ...]) -> float:
        chosen = algorithm(pairs)
        assert all(np.abs(conv(case, chosen, np.float64) - case.exact).max() < 1e-9 for case in cases[:1])
        return max(float(np.abs(conv(case, chosen, np.float32) - case.exact).max() / case.direct) for case in cases)

    tried = [pairs for pairs in itertools.product(*GRID) if pairs[0] < pairs[1] - 0.05 < pairs[2] - 0.1]
    errors = {pairs: error(pairs) for pairs in tried}
    best = min(errors, key=errors.__getitem__)
    result = {
        "ours_4x4": round(error(OURS), 1),
        "usual_6x6": round(error((1.0, 2.0, 0.5)), 1),
        "best_6x6": round(errors[best], 1),
        "best_points": [round(float(point), 2) for point in best],
        "tried": len(tried),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
