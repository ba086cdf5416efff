"""The configuration of a network: enough to rebuild it from a checkpoint's header."""

from dataclasses import dataclass, fields

from adadsr.errors import InputError

SCALES = (2, 3, 4)
"""Scales of most networks."""
SCALES_OF = {"esrgan": (1, *SCALES, 8), "compact": tuple(range(1, 9))}
"""Scales of the backbones that people also train to restore pictures without enlarging them, and to enlarge more."""
UNSHUFFLES = (1, 2, 4)
DEPTH_TILES = (1, 4)


@dataclass(frozen=True)
class NetworkConfig:
    """Backbone and size of one network.

    backbone: a key of `layouts.BACKBONES`.
    scale: upscale factor, 2, 3 or 4; also 1 or 8 for ESRGAN, and 1 to 8 for Compact.
    n_feats: feature channels C.
    n_resblocks: blocks per group, B; the largest depth.
    n_groups: groups of blocks; only RCAN has more than one.
    adaptive: whether an adapter predicts a depth map.
    depth_tile: side of the square of LR pixels that shares one depth; 1 is the paper, 4 the hardware-aligned map.
    growth: channels that each conv of an ESRGAN block adds; 0 for the others.
    unshuffle: side of the square of LR pixels that an ESRGAN network sees as one, in 3 * unshuffle^2 channels
        (PixelUnshuffle), so that its tail upsamples by scale * unshuffle.
    exits: whether positions where fewer than all blocks run have closing convs of their own; adaptive ESRGAN only.
    """

    backbone: str
    scale: int
    n_feats: int = 64
    n_resblocks: int = 16
    n_groups: int = 1
    adaptive: bool = False
    depth_tile: int = 1
    growth: int = 0
    unshuffle: int = 1
    exits: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type:
                raise InputError(f"{field.name}={value!r} must be of type {field.type}")
        _check_choice("unshuffle", self.unshuffle, UNSHUFFLES)
        _check_choice("scale", self.scale, SCALES_OF.get(self.backbone, SCALES))
        _check_choice("depth_tile", self.depth_tile, DEPTH_TILES)
        if self.depth_tile != 1 and not self.adaptive:
            raise InputError(f"depth_tile={self.depth_tile} needs an adaptive network; pass adaptive=True")
        if self.exits and not (self.adaptive and self.backbone == "esrgan"):
            raise InputError(f"exits=True: only an adaptive esrgan has closing convs for exits, not {self.kind}")
        if self.n_feats < 2 or self.n_resblocks < 1 or self.n_groups < 1 or self.growth < 0:
            raise InputError(
                f"n_feats={self.n_feats}, n_resblocks={self.n_resblocks}, n_groups={self.n_groups}, "
                f"growth={self.growth}: n_feats must be at least 2, growth at least 0, the others at least 1"
            )

    @property
    def tail_scale(self) -> int:
        """Factor by which the tail upsamples features."""
        return self.scale * self.unshuffle

    @property
    def kind(self) -> str:
        """The backbone's name, prefixed with `ada` if the network is adaptive."""
        return f"ada{self.backbone}" if self.adaptive else self.backbone


def _check_choice(name: str, value: int, allowed: tuple[int, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value} is not one of {', '.join(map(str, allowed))}")
