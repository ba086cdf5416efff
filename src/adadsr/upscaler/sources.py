"""What can be upscaled: pictures in any form and torch tensors, each with a sink for its result."""

import os
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from adadsr import images
from adadsr.backends import to_numpy
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.graph import Array
from adadsr.images import Picture


class Sink(Protocol):
    """Receives finished parts of the result."""

    def write(self, box: Box, sr: Array) -> None:
        """Store a part of the SR image: its box, and (h, w, 3) in 0..255. Comes after all of the transparency."""

    def write_alpha(self, box: Box, sr: Array) -> None:
        """Store a part of the transparency in the same form, if the source has `alpha`."""

    def image(self) -> Any:
        """The result in the form of the input."""

    def picture(self) -> Picture | None:
        """The result with the metadata of its source; None for a tensor."""


@runtime_checkable
class Source(Protocol):
    """An image to upscale."""

    def lr(self) -> Array:
        """(H, W, 3), floating point in 0..255."""

    def alpha(self) -> Array | None:
        """The transparency as a gray image in the form of `lr`; None if it is the same everywhere, or there is none."""

    def held_bytes(self, scale: int) -> int:
        """Bytes of input and result, and of the arrays between them."""

    def sink(self, scale: int) -> Sink:
        """A new sink for a result."""


def open_source(image: Any, max_pixels: int) -> Source:
    """The source for an image in any form; see `Upscaler.prepare`. Raises InputError and ImageFileError."""
    if isinstance(image, Source):
        return image
    if hasattr(image, "detach") and hasattr(image, "dim"):  # without importing torch
        return TensorSource(image)
    return PictureSource(image, _as_picture(image, max_pixels))


def _as_picture(image: Any, max_pixels: int) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | bytes | os.PathLike) or hasattr(image, "read"):
        return images.read_image(image, max_pixels=max_pixels)
    if isinstance(image, np.ndarray):
        return images.picture_from_array(image)
    if hasattr(image, "getbands"):
        return images.picture_from_pil(image)
    raise InputError(f"expected a path, bytes, open file, array, Pillow image or tensor, got {type(image).__name__}")


@dataclass(frozen=True, eq=False)
class PictureSource:
    """A picture. given: the user's input, which determines the form of the result."""

    given: Any
    picture: Picture

    def lr(self) -> npt.NDArray[np.float32]:
        color, alpha = images.to_planes(self.picture)
        return color if alpha is None else images.bleed_color(color, alpha)

    def alpha(self) -> npt.NDArray[np.float32] | None:
        alpha = images.to_planes(self.picture).alpha
        if alpha is None or alpha.min() == alpha.max():
            return None
        return np.broadcast_to(alpha[..., None], (*alpha.shape, 3))

    def held_bytes(self, scale: int) -> int:
        pixels = self.picture.height * self.picture.width
        alpha = 4 * pixels * (4 + scale**2) if self.picture.has_alpha else 0
        return self.picture.pixels.nbytes * (1 + scale**2) + 4 * 3 * pixels + alpha

    def sink(self, scale: int) -> "PictureSink":
        return PictureSink(self, scale)


class PictureSink:
    """Pixels of the type of the source."""

    def __init__(self, source: PictureSource, scale: int) -> None:
        picture = source.picture
        self._source = source
        size = picture.height * scale, picture.width * scale
        alpha = images.to_planes(picture).alpha
        # Where it is the same everywhere, no part of it will be written.
        self._alpha = None if alpha is None else np.full(size, alpha[0, 0], np.float32)
        self._pixels = np.empty((*size, picture.pixels.shape[2]), picture.pixels.dtype)

    def write(self, box: Box, sr: Array) -> None:
        rows, columns = box.slices
        alpha = None if self._alpha is None else self._alpha[rows, columns]
        images.quantize(to_numpy(sr), alpha, self._pixels[rows, columns])

    def write_alpha(self, box: Box, sr: Array) -> None:
        assert self._alpha is not None
        rows, columns = box.slices
        np.clip(to_numpy(sr).mean(axis=2), 0, 255, out=self._alpha[rows, columns])

    def picture(self) -> Picture:
        return replace(self._source.picture, pixels=self._pixels)

    def image(self) -> Any:
        given, pixels = self._source.given, self._pixels
        if isinstance(given, np.ndarray):
            return pixels[..., 0] if given.ndim == 2 else pixels
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        if hasattr(given, "getbands"):
            from PIL import Image

            return Image.fromarray(flat)
        return flat


class TensorSource:
    """A floating-point torch tensor, (3, H, W) or (1, 3, H, W), in 0..255."""

    def __init__(self, tensor: Any) -> None:
        """Raises InputError for another shape or type."""
        shape = tuple(tensor.shape)
        if len(shape) not in (3, 4) or shape[-3] != 3 or 0 in shape or (len(shape) == 4 and shape[0] != 1):
            raise InputError(f"tensor has shape {shape}; pass (3, height, width) or (1, 3, height, width)")
        if not tensor.is_floating_point():
            raise InputError(f"expected a floating-point tensor in 0..255, got {tensor.dtype}")
        self.tensor = tensor

    def lr(self) -> Any:
        return self.tensor.detach().reshape(self.tensor.shape[-3:]).permute(1, 2, 0)

    def alpha(self) -> None:
        """Tensors have colour only."""

    def held_bytes(self, scale: int) -> int:
        return int(self.tensor.numel() * self.tensor.element_size() * (1 + scale**2))

    def sink(self, scale: int) -> "TensorSink":
        return TensorSink(self.tensor, scale)


class TensorSink:
    """A tensor with the type and device of the source."""

    def __init__(self, like: Any, scale: int) -> None:
        *outer, height, width = like.shape
        self._sr = like.new_empty(*outer, height * scale, width * scale)

    def write(self, box: Box, sr: Array) -> None:
        import torch

        part = box.of(self._sr)
        part.copy_(torch.as_tensor(sr).permute(2, 0, 1))

    def write_alpha(self, box: Box, sr: Array) -> None:
        """Tensors have colour only."""

    def picture(self) -> None:
        """A tensor has no file form."""

    def image(self) -> Any:
        return self._sr
