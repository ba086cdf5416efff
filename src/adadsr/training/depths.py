"""Depths of a training step: how they are drawn, and how the adapter's maps meet them."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import NetworkWeights
from adadsr.graph.calibration import neighbour_blocks
from adadsr.networks.depth_maps import depths_at
from adadsr.training.recipe import Stage

LONGEST = 4
"""Side of the rectangles of random maps, in tiles, at most."""


@dataclass(frozen=True)
class AdapterDepths:
    """Depths that the adapter's maps meet.

    desired: (N,), in blocks. group: images that share one desired depth and meet it together; N is a multiple of it.
    full: images of a group that run at full depth, which come first.
    color_maps: (N, 1, h, w), in blocks: by which images of one colour run instead of the adapter's maps.
    """

    desired: Tensor
    group: int = 1
    full: int = 0
    color_maps: Tensor | None = None


@dataclass(frozen=True)
class UniformDepths:
    """Numbers of blocks after which every position of every image ends, without a map. Different ones."""

    blocks: tuple[int, ...]


@dataclass(frozen=True)
class ComparedDepths:
    """Depths that a step compares with full depth, which is the last of `uniform`, and those of its maps."""

    uniform: UniformDepths
    maps: AdapterDepths


RunDepths: TypeAlias = AdapterDepths | UniformDepths | None
"""Depths of one forward pass; None runs every block everywhere."""
StepDepths: TypeAlias = RunDepths | ComparedDepths
"""Depths of a step."""


def draw_depths(stage: Stage, n_blocks: int, generator: torch.Generator) -> StepDepths:
    """Random depths for a batch of a stage, on the CPU. n_blocks: the largest depth."""
    if not stage.adaptive:
        return None
    if stage.train == "predicted_loss":
        return _compared(stage, n_blocks, generator)
    adapter = AdapterDepths(_desired(stage, generator) * n_blocks, stage.shared_depth, stage.full_of_shared)
    if not stage.uniform_share:
        return adapter
    # Two draws in either case, so that the patches of a run do not depend on the outcome.
    chance = float(torch.rand((), generator=generator))
    drawn = _exits(stage, n_blocks, generator)
    return UniformDepths(drawn) if chance < stage.uniform_share else adapter


def _compared(stage: Stage, n_blocks: int, generator: torch.Generator) -> ComparedDepths:
    drawn = torch.randperm(n_blocks, generator=generator)[: stage.exits - 1]
    share = torch.empty(stage.batch).uniform_(stage.least_share, 1.0, generator=generator)
    return ComparedDepths(UniformDepths((*sorted(drawn.tolist()), n_blocks)), AdapterDepths(share * n_blocks))


def _exits(stage: Stage, n_blocks: int, generator: torch.Generator) -> tuple[int, ...]:
    """Numbers of blocks of a step at one depth everywhere, in ascending order; as many as there are, at most."""
    if stage.train == "exits":
        drawn = torch.randperm(n_blocks, generator=generator)[: stage.exits]  # full depth closes by another conv
    elif stage.train != "all":
        drawn = torch.randperm(n_blocks + 1, generator=generator)[: stage.exits]
    elif stage.exits == 1:
        drawn = torch.randint(1, n_blocks + 1, (1,), generator=generator)
    else:
        drawn = 1 + torch.randperm(n_blocks - 1, generator=generator)[: stage.exits - 1]
        drawn = torch.cat([drawn, torch.tensor([n_blocks])])
    return tuple(sorted(drawn.tolist()))


def _desired(stage: Stage, generator: torch.Generator) -> Tensor:
    """Desired depth of each image of a batch as a share of full depth, (stage.batch,)."""
    if stage.shared_depth == 1:
        share = torch.empty(stage.batch).uniform_(stage.least_share, 1.0, generator=generator)
        return share.masked_fill_(torch.rand(stage.batch, generator=generator) < stage.full_share, 1.0)
    share = torch.empty(stage.batch // stage.shared_depth, 1).uniform_(stage.least_share, 1.0, generator=generator)
    share = share.repeat(1, stage.shared_depth)
    # Patches are in random order, so it may be the first ones.
    share[:, : stage.full_of_shared] = 1.0
    return share.flatten()


def random_maps(n_images: int, side: int, n_blocks: int, generator: torch.Generator) -> Tensor:
    """Maps (N, 1, side, side) of rectangles of any two depths next to each other, as far as maps may differ.

    In a picture, one colour is run by such maps where it is next to details. The adapter gives a patch of one colour
    one depth, so its own maps would not teach the network to keep the colour at a border between two depths.
    side: of the map, in tiles. n_blocks: the largest depth.
    """
    drawn = torch.randint(0, n_blocks + 1, (n_images, side, side), generator=generator).float()
    drawn = drawn * (torch.rand(n_images, side, side, generator=generator) < 0.6)
    sides = torch.randint(1, LONGEST + 1, (2, n_images, 1), generator=generator)
    row, column = torch.arange(side) // sides
    maps = drawn[torch.arange(n_images)[:, None, None], row[:, :, None], column[:, None, :]][:, None]
    around = F.max_pool2d(maps, 3, stride=1, padding=1)
    return torch.maximum(maps, around - neighbour_blocks(n_blocks))


def one_color(lr: Tensor) -> Tensor:
    """Which LR patches, (N, C, H, W), are of one colour as the network gets them: (N,).

    A noisy single colour does not count: weighting such patches would teach smoothing.
    """
    return (lr == lr[..., :1, :1]).flatten(1).all(dim=1)


def part_of(depths: StepDepths, part: slice, device: torch.device) -> StepDepths:
    """Depths of some images of a batch, on a device. part: whole groups."""
    if isinstance(depths, ComparedDepths):
        return replace(depths, maps=_part_of_maps(depths.maps, part, device))
    return _part_of_maps(depths, part, device) if isinstance(depths, AdapterDepths) else depths


def _part_of_maps(depths: AdapterDepths, part: slice, device: torch.device) -> AdapterDepths:
    maps = depths.color_maps
    return replace(
        depths,
        desired=depths.desired[part].to(device, non_blocking=True),
        color_maps=None if maps is None else maps[part].to(device, non_blocking=True),
    )


def by_depth(images: Tensor, depths: RunDepths) -> list[Tensor]:
    """The images of a step, (N, ...), in parts: after each number of blocks, or at full depth and with maps below."""
    if isinstance(depths, UniformDepths):
        return list(images.chunk(len(depths.blocks)))
    if depths is None or not depths.full:
        return [images]
    groups = images.reshape(-1, depths.group, *images.shape[1:])
    return [groups[:, : depths.full].flatten(0, 1), groups[:, depths.full :].flatten(0, 1)]


def shared_depth_maps(network: NetworkWeights, scores: Tensor, depths: AdapterDepths) -> Tensor:
    """Depth maps (N, G, h, w), in blocks, of images that meet their desired depth in groups, like parts of one image.

    So a flat patch leaves depth to a detailed one, as it does in a photo. scores: (N, K, h, w).
    """
    if depths.group == 1:
        return depths_at(network, scores, depths.desired)
    groups = scores.reshape(-1, depths.group, *scores.shape[1:])
    as_one = groups[:, depths.full :].transpose(1, 2).flatten(2, 3)
    together = depths_at(network, as_one, depths.desired.view(-1, depths.group)[:, -1])
    maps = together.reshape(*together.shape[:2], -1, *scores.shape[2:]).transpose(1, 2)
    full = maps.new_full((1, 1, 1, 1, 1), network.n_blocks).expand(len(maps), depths.full, *maps.shape[2:])
    return torch.cat([full, maps], dim=1).flatten(0, 1)
