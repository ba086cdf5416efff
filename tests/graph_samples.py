"""Small random networks, images and depth maps, as numpy arrays, and their definition in torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adadsr.graph import BodyWeights, NetworkWeights, map_arrays
from adadsr.networks import NetworkConfig, assemble
from adadsr.tensor_ops import OPS

Array32 = npt.NDArray[np.float32]
BLOCKS = 3
RESIDUAL_KINDS = [("edsr", 1), ("edsr", 4), ("rcan", 1), ("rcan", 4)]
KINDS = [*RESIDUAL_KINDS, ("esrgan", 4)]
"""Backbone and depth tile of the adaptive networks; the first ones have residual blocks of two convs."""
OTHER_KINDS = [("esrgan", 1), ("compact", 1)]
"""Networks without an adapter."""


def config_of(backbone: str, depth_tile: int = 1, n_feats: int = 8, scale: int = 2) -> NetworkConfig:
    """An adaptive configuration where the backbone has an adapter."""
    return NetworkConfig(
        backbone,
        scale,
        n_feats,
        BLOCKS,
        n_groups=2 if backbone == "rcan" else 1,
        adaptive=(backbone, depth_tile) in KINDS,
        depth_tile=depth_tile,
        growth=4 if backbone == "esrgan" else 0,
        exits=(backbone, depth_tile) == ("esrgan", 4),
    )


def random_values(seed: int) -> Callable[[str, tuple[int, ...]], Array32]:
    """Draws tensors of a name and a shape: weights that keep the size of features, slopes around 0.25, small biases."""
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> Array32:
        if len(shape) == 4:
            return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        middle = 0.0 if name.endswith("bias") else 0.25
        return (rng.standard_normal(shape) * 0.1 + middle).astype(np.float32)

    return draw


def network_of(config: NetworkConfig, seed: int = 0) -> NetworkWeights:
    network: NetworkWeights = assemble(config, random_values(seed))
    return network


def build(backbone: str, depth_tile: int = 1, n_feats: int = 8, scale: int = 2) -> NetworkWeights:
    return network_of(config_of(backbone, depth_tile, n_feats, scale))


def lr_images(seed: int, batch: int, height: int, width: int) -> Array32:
    """(N, H, W, 3) in 0..255."""
    return np.random.default_rng(seed).random((batch, height, width, 3), np.float32) * 255


def z0_of(network: NetworkWeights, seed: int, batch: int, height: int, width: int) -> Array32:
    """Features (N, C, H, W)."""
    return np.random.default_rng(seed).standard_normal((batch, network.channels, height, width)).astype(np.float32)


def depth_map_of(network: NetworkWeights, seed: int, batch: int, height: int, width: int) -> Array32:
    """(N, G, h, w), with positions that are inactive, deeper than there are blocks, and in between."""
    shape = (batch, *network.map_shape(height, width))
    depths = np.random.default_rng(seed + 1).random(shape) * (network.n_blocks + 2) - 1
    return depths.clip(0).astype(np.float32)


def tensors(part: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """A part of a network, or an array, as tensors."""
    return map_arrays(part, lambda array: torch.as_tensor(array).to(device, dtype))


def run_definition(body: BodyWeights, z0: Array32, depth_map: Array32 | None, dtype: torch.dtype) -> torch.Tensor:
    """The body as its definition computes it in a type."""
    depths = None if depth_map is None else torch.from_numpy(depth_map)
    if depths is not None and dtype == torch.float64:
        depths = depths.double()
    result: torch.Tensor = tensors(body, dtype).run(OPS, tensors(z0, dtype), depths)
    return result


def assert_as_exact_as_dense(
    z: torch.Tensor,
    body: BodyWeights,
    z0: Array32,
    depth_map: Array32 | None,
    dtype: torch.dtype = torch.float32,
    factor: int = 2,
) -> None:
    """The error of z against float64 is at most `factor` times that of the dense definition in `dtype`."""
    exact = run_definition(body, z0, depth_map, torch.float64)
    dense = (run_definition(body, z0, depth_map, dtype).double() - exact).abs().max()
    assert (z.cpu().double() - exact).abs().max() <= factor * dense + 1e-6
