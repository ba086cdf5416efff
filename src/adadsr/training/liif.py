"""LIIF as a teacher: an EDSR-baseline encoder and a decoder for every scale.

Source: "Learning Continuous Image Representation with Local Implicit Image Function" (arXiv:2012.09161). The decoder
is a small MLP of the 3x3 features around a cell, an SR pixel's offset from it, and the SR pixel's size. An SR pixel
takes its colour from the nearest 2x2 cells, weighted bilinearly. SR pixels of one phase share their offsets, so the
MLP's first layer is one conv for the whole image, and a constant for each offset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.checkpoints.tensors import check_finite, check_fit, is_pickle, read_safetensors
from adadsr.geometry import Box
from adadsr.networks.layouts import Shape

BLOCKS = 16
FEATURES = 64
HIDDEN = 256
LAYERS = (0, 2, 4, 6, 8)
"""Linear layers of the MLP by their published numbers; a ReLU lies between each two."""


class _Offset(NamedTuple):
    """One axis of an SR phase and one of its nearest cells.

    phase: in [0, scale). cell: -1, 0 or 1, from the LR pixel around the SR pixel. distance: from the cell's centre to
    the SR pixel's, in LR pixels. weights: (size,), of the cell for each LR pixel; 0 for cells outside the image.
    """

    phase: int
    cell: int
    distance: float
    weights: Tensor


@dataclass(frozen=True)
class Liif:
    """The published network. tensors: float32, by their published names, on one device.

    bfloat16: multiply in it. SR then differs by about a quarter of a level, RMS.
    """

    tensors: dict[str, Tensor]
    bfloat16: bool = False

    @classmethod
    def from_file(cls, path: Path, device: torch.device, *, bfloat16: bool = False) -> "Liif":
        """Read the published tensors. Raises CheckpointError, which names the file, unless they are complete."""
        tensors = read_safetensors(path).tensors
        check_fit(path, "LIIF network with an EDSR-baseline encoder", tensors, _shapes())
        check_finite(path, tensors)
        return cls({name: torch.from_numpy(array).to(device) for name, array in tensors.items()}, bfloat16)

    @torch.inference_mode()
    def upscale(self, scale: int, lr: Tensor, box: Box) -> Tensor:
        """SR of a box of an LR image: lr (3, H, W) in 0..255 -> (3, s*h, s*w) float32, neither rounded nor clipped.

        Pixels around the box serve as its context.
        """
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self._upscale(scale, lr, box)

    def _upscale(self, scale: int, lr: Tensor, box: Box) -> Tensor:
        features = self._features(lr[None].float() / 127.5 - 1)
        weight, bias = self._layer(0)
        kernel = weight[:, : 9 * FEATURES].reshape(HIDDEN, FEATURES, 3, 3)
        cells = F.conv2d(features, kernel.contiguous(memory_format=torch.channels_last), bias, padding=1)
        cells = F.pad(cells, (1, 1, 1, 1))[0].permute(1, 2, 0)
        sr = lr.new_zeros(scale * box.height, scale * box.width, 3, dtype=torch.float32)
        for down in _offsets(scale, lr.shape[1], lr.device):
            for right in _offsets(scale, lr.shape[2], lr.device):
                top, left = box.top + 1 + down.cell, box.left + 1 + right.cell
                offset = weight.new_tensor([2 * down.distance, 2 * right.distance, 2 / scale, 2 / scale])
                seen = cells[top : top + box.height, left : left + box.width]
                hidden = seen + weight[:, 9 * FEATURES :] @ offset
                share = down.weights[box.top : box.bottom, None, None] * right.weights[None, box.left : box.right, None]
                sr[down.phase :: scale, right.phase :: scale] += share * self._colours(hidden)
        return (sr.permute(2, 0, 1) + 1) * 127.5

    def _features(self, x: Tensor) -> Tensor:
        """The encoder: (1, 3, H, W) in -1..1 -> (1, FEATURES, H, W)."""
        x = self._conv("head.0", x.contiguous(memory_format=torch.channels_last))
        z = x
        for block in range(BLOCKS):
            z = z + self._conv(f"body.{block}.body.2", self._conv(f"body.{block}.body.0", z).relu_())
        return x + self._conv(f"body.{BLOCKS}", z)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"encoder.{name}.{part}"] for part in ("weight", "bias"))
        return F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)

    def _layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer of the MLP."""
        return self.tensors[f"imnet.layers.{index}.weight"], self.tensors[f"imnet.layers.{index}.bias"]

    def _colours(self, hidden: Tensor) -> Tensor:
        """The MLP after its first product: (h, w, HIDDEN) -> RGB (h, w, 3) in -1..1."""
        for index in LAYERS[1:]:
            hidden = F.linear(hidden.relu_(), *self._layer(index))
        return hidden


def _offsets(scale: int, size: int, device: torch.device) -> Iterator[_Offset]:
    """The phases of an axis of `size` LR pixels, each with its one or two nearest cells."""
    pixels = torch.arange(size, device=device)
    for phase in range(scale):
        centre = (phase + 0.5) / scale - 0.5
        weights = {cell: max(0.0, 1 - abs(centre - cell)) for cell in (-1, 0, 1)}
        shares = {cell: w * ((pixels + cell >= 0) & (pixels + cell < size)) for cell, w in weights.items() if w > 0}
        total = torch.stack(list(shares.values())).sum(dim=0)
        for cell, share in shares.items():
            yield _Offset(phase, cell, centre - cell, share / total)


def is_liif(path: Path) -> bool:
    """Whether a file holds a LIIF decoder. Raises CheckpointError if it is not a checkpoint at all."""
    if not path.is_file() or is_pickle(path):
        return False
    return any(name.startswith("imnet.") for name in read_safetensors(path).tensors)


def _shapes() -> dict[str, Shape]:
    """Name -> shape of every tensor of the published file."""
    outputs: dict[str, Shape] = {
        "encoder.head.0": (FEATURES, 3, 3, 3),
        f"encoder.body.{BLOCKS}": (FEATURES, FEATURES, 3, 3),
    }
    for block in range(BLOCKS):
        outputs |= {f"encoder.body.{block}.body.{conv}": (FEATURES, FEATURES, 3, 3) for conv in (0, 2)}
    widths = (9 * FEATURES + 4, *[HIDDEN] * 4, 3)
    for index, layer in enumerate(LAYERS):
        outputs[f"imnet.layers.{layer}"] = (widths[index + 1], widths[index])
    weights = {f"{name}.weight": shape for name, shape in outputs.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in outputs.items()}
