"""Named network configurations."""

from dataclasses import replace

from adadsr.errors import InputError
from adadsr.networks.config import DEPTH_TILES, NetworkConfig

_EDSR = NetworkConfig(backbone="edsr", scale=2, n_feats=256, n_resblocks=32)
_EDSR_BASELINE = NetworkConfig(backbone="edsr", scale=2, n_feats=64, n_resblocks=16)
_RCAN = NetworkConfig(backbone="rcan", scale=2, n_feats=64, n_resblocks=20, n_groups=10)
_RCAN_SMALL = NetworkConfig(backbone="rcan", scale=2, n_feats=64, n_resblocks=6, n_groups=5)

CONFIGS = {
    "edsr": _EDSR,
    "edsr-baseline": _EDSR_BASELINE,
    "rcan": _RCAN,
    "rcan-small": _RCAN_SMALL,
    "adaedsr": replace(_EDSR, adaptive=True),
    "adaedsr-baseline": replace(_EDSR_BASELINE, adaptive=True),
    "adarcan": replace(_RCAN, adaptive=True),
    "adarcan-small": replace(_RCAN_SMALL, adaptive=True),
    "esrgan": NetworkConfig(backbone="esrgan", scale=4, n_feats=64, n_resblocks=23, growth=32),
    "esrgan-anime": NetworkConfig(backbone="esrgan", scale=4, n_feats=64, n_resblocks=6, growth=32),
    "compact": NetworkConfig(backbone="compact", scale=4, n_feats=64, n_resblocks=16),
}
"""Name -> configuration, with one depth per pixel."""


def named_config(name: str, scale: int, depth_tile: int = 1) -> NetworkConfig:
    """The configuration `name` of CONFIGS at `scale`; depth_tile is for adaptive ones. Raises InputError."""
    if name not in CONFIGS:
        raise InputError(f"network {name!r} is not one of {', '.join(CONFIGS)}")
    if depth_tile in DEPTH_TILES[1:] and not CONFIGS[name].adaptive:
        adaptive = f"ada{name} or " if f"ada{name}" in CONFIGS else ""
        raise InputError(f"depth_tile={depth_tile} needs an adaptive network; use {adaptive}depth_tile: 1")
    return replace(CONFIGS[name], scale=scale, depth_tile=depth_tile)
