"""Every engine that can run here, and what it has to equal: the definition in float64."""

import functools

import numpy as np
import numpy.typing as npt
import torch

from adadsr import backends
from adadsr.backends import BACKENDS, DepthMap, Engine, to_numpy
from adadsr.errors import BackendError
from adadsr.geometry import Box
from adadsr.graph import NetworkWeights
from adadsr.tensor_ops import OPS
from graph_samples import KINDS, OTHER_KINDS, Array32, build, tensors

INTERPRETED = ("triton",)
"""Backends that take seconds for a block on a CPU; test_gpu_body.py has the laws of their bodies."""
AVAILABLE = [name for name, row in BACKENDS.items() if row.missing("cpu") is None and name not in INTERPRETED]
"""Backends that can run on this machine's CPU."""
WINOGRAD = 10
"""How many times the dense network's error Winograd's algorithm may make; direct convs may make twice as much."""
RESOLUTION = 2.0**-22
"""Share of the largest value that rounding alone accounts for, in float32."""


@functools.cache
def engine_of(
    name: str, backbone: str, depth_tile: int, precision: str = "float32", n_feats: int = 8, scale: int = 2
) -> Engine:
    """One engine for all tests, so that they also see what an earlier run left behind."""
    return backends.prepare(build(backbone, depth_tile, n_feats, scale), name, precision=precision, threads=2)


def _can_run(name: str, backbone: str, depth_tile: int) -> bool:
    try:
        engine_of(name, backbone, depth_tile)
    except BackendError:
        return False
    return True


CASES = [
    (name, backbone, tile)
    for name in AVAILABLE
    for backbone, tile in KINDS + OTHER_KINDS
    if _can_run(name, backbone, tile)
]
"""Backend, backbone and depth tile of everything that can be run."""
ADAPTIVE_CASES = [case for case in CASES if case[1:] in KINDS]


def run(engine: Engine, lr: Array32, depth_map: DepthMap | None) -> Array32:
    """Head, body and the whole tail: (N, s*H, s*W, 3)."""
    z = engine.body(engine.features(lr), depth_map)
    return to_numpy(engine.tail(z, whole(lr)))


def whole(lr: Array32) -> Box:
    return Box(0, 0, lr.shape[1], lr.shape[2])


def defined(network: NetworkWeights, lr: Array32, depth_map: DepthMap | None, dtype: torch.dtype) -> Array32:
    """What the definition gives, (N, s*H, s*W, 3): body and tail in `dtype`, the rest in float32 or wider."""
    outer = torch.promote_types(dtype, torch.float32)
    images, head = tensors(lr, outer).permute(0, 3, 1, 2), tensors(network.head, outer)
    depths = None if depth_map is None else tensors(depth_map, outer)
    z = tensors(network.body, dtype).run(OPS, head.run(OPS, images).to(dtype), depths)
    sr = tensors(network.tail, dtype).run(OPS, z, head.normalise(OPS, images).to(dtype))
    result: torch.Tensor = head.denormalise(OPS, sr.to(outer)).permute(0, 2, 3, 1)
    return result.numpy()


def assert_as_exact_as_float32(
    result: npt.NDArray[np.floating], plain: npt.NDArray[np.floating], exact: npt.NDArray[np.floating], engine: Engine
) -> None:
    """The error against float64 is a small multiple of that of the dense definition in float32."""
    factor = WINOGRAD if engine.backend == "native" else 4  # the definition is sometimes lucky
    assert result.shape == exact.shape
    allowed = factor * max(np.abs(plain - exact).max(), RESOLUTION * np.abs(exact).max())
    assert np.abs(result - exact).max() <= allowed
