"""The self-ensemble "x8": the mean over flips and rotations (arXiv:1707.02921, section 3.4)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adadsr.evaluation.benchmark import Pixels
from adadsr.upscaler import Report, Upscaler


class EnsembleRun(NamedTuple):
    """sr: (s*H, s*W, 3) uint8. depth_maps: of each run, turned back, (G, H, W). reports: of each run."""

    sr: Pixels
    depth_maps: list[npt.NDArray[np.float32]]
    reports: list[Report]


def run_ensemble(upscaler: Upscaler, lr: Pixels, depth: float | None, budget: float | None) -> EnsembleRun:
    """Run all eight orientations of lr (H, W, 3) and average in floating point; rounded once, at the end."""
    planes = torch.from_numpy(lr).permute(2, 0, 1).float()
    total, maps, reports = torch.zeros(()), [], []
    for turns in range(4):
        for flip in (False, True):
            upscaled = upscaler(_turned(planes, turns, flip).contiguous(), depth=depth, budget=budget)
            total = total + _turned_back(upscaled.image.cpu(), turns, flip)
            maps.append(_turned_back(torch.from_numpy(upscaled.depth_map), turns, flip).numpy())
            reports.append(upscaled.report)
    sr = (total / len(reports)).round().clamp(0, 255).to(torch.uint8)
    return EnsembleRun(sr.permute(1, 2, 0).contiguous().numpy(), maps, reports)


def _turned(planes: Tensor, turns: int, flip: bool) -> Tensor:
    turned = torch.rot90(planes, turns, (-2, -1))
    return turned.flip(-1) if flip else turned


def _turned_back(planes: Tensor, turns: int, flip: bool) -> Tensor:
    return torch.rot90(planes.flip(-1) if flip else planes, -turns, (-2, -1))
