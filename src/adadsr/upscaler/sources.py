"""What can be upscaled: pictures in any form and torch tensors, each with a sink for its result."""

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from adadsr import images
from adadsr.backends import to_numpy
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.graph import Array
from adadsr.images import Picture

EVEN_REACH = 2
"""A pixel keeps its alpha if all alpha within this many LR pixels is equal."""

_SIXTEEN_BITS = 65535
_ROUNDING = 1e-3  # how far beyond 0..1 a computation may have gone


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


def open_source(image: Any, max_pixels: int, *, accept_damaged: bool = False, page: int | None = None) -> Source:
    """The source for an image in any form; see `Upscaler.prepare`. Raises InputError and ImageFileError."""
    if isinstance(image, Source):
        return image
    if hasattr(image, "detach") and hasattr(image, "dim"):  # without importing torch
        return TensorSource(image)
    if isinstance(image, str | bytes | os.PathLike) or hasattr(image, "read"):
        read = images.read_image(image, max_pixels=max_pixels, accept_damaged=accept_damaged, page=page)
        return PictureSource(image, read)
    return PictureSource(image, _as_picture(image))


def _as_picture(image: Any) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, np.ndarray):
        return images.picture_from_array(_as_samples(image) if _is_floating(image) else image)
    if hasattr(image, "getbands"):
        return images.picture_from_pil(image)
    raise InputError(f"expected a path, bytes, open file, array, Pillow image or tensor, got {type(image).__name__}")


def _is_floating(image: Any) -> bool:
    return isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating)


def _as_samples(array: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
    """16-bit samples of values in 0..1. Raises InputError for other values."""
    if not np.isfinite(array).all():
        raise InputError("image contains NaN or infinity; values must be finite and in 0..1")
    least, largest = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if least < -_ROUNDING or largest > 1 + _ROUNDING:
        raise InputError(
            f"floating-point array has values in {least:.4g}..{largest:.4g}, but 0..1 is expected; divide it by 255, "
            "or convert it to uint8"
        )
    samples: npt.NDArray[np.uint16] = np.rint(array.clip(0, 1) * np.float64(_SIXTEEN_BITS)).astype(np.uint16)
    return samples


@dataclass(frozen=True, eq=False)
class PictureSource:
    """A picture. given: the user's input, which determines the form of the result. held: bytes of other pictures that
    are in memory meanwhile.
    """

    given: Any
    picture: Picture
    held: int = 0

    def lr(self) -> npt.NDArray[np.float32]:
        color, alpha = images.to_planes(self.picture)
        return color if alpha is None else images.bleed_color(color, alpha)

    @cached_property
    def uneven_alpha(self) -> npt.NDArray[np.float32] | None:
        """The alpha, (H, W) in 0..255; None if it is the same everywhere, or there is none."""
        alpha = images.alpha_plane(self.picture)
        return None if alpha is None or alpha.min() == alpha.max() else alpha

    def alpha(self) -> npt.NDArray[np.float32] | None:
        alpha = self.uneven_alpha
        return None if alpha is None else np.broadcast_to(alpha[..., None], (*alpha.shape, 3))

    def held_bytes(self, scale: int) -> int:
        height, width, channels = self.picture.pixels.shape
        floats = 2 * 8 * self.given.size * scale**2 if _is_floating(self.given) else 0  # float64, then the result
        return self.held + picture_bytes(height, width, channels, self.picture.bits, scale) + floats

    def sink(self, scale: int) -> "PictureSink":
        return PictureSink(self, scale)


def picture_bytes(height: int, width: int, channels: int, bits: int, scale: int) -> int:
    """Bytes of a picture and its result, and of the arrays between them."""
    pixels = height * width
    alpha = 4 * pixels * (4 + scale**2) if channels % 2 == 0 else 0
    return pixels * channels * bits // 8 * (1 + scale**2) + 4 * 3 * pixels + alpha


def _even(alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether a pixel's surroundings of `EVEN_REACH` pixels all have its alpha."""
    padded = np.pad(alpha, EVEN_REACH, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view
    side = 2 * EVEN_REACH + 1
    lows = windows(windows(padded, side, 0).min(-1), side, 1).min(-1)
    highs = windows(windows(padded, side, 0).max(-1), side, 1).max(-1)
    even: npt.NDArray[np.bool_] = lows == highs
    return even


class PictureSink:
    """Pixels of the type of the source."""

    def __init__(self, source: PictureSource, scale: int) -> None:
        picture, alpha = source.picture, source.uneven_alpha
        self._source, self._scale = source, scale
        size = picture.height * scale, picture.width * scale
        # The network comes close to what is even; masks need it exactly.
        self._even = None if alpha is None else _even(alpha)
        if alpha is None:
            alpha = images.alpha_plane(picture)
        self._alpha = None if alpha is None else alpha.repeat(scale, 0).repeat(scale, 1)
        self._pixels = np.empty((*size, picture.pixels.shape[2]), picture.pixels.dtype)

    def write(self, box: Box, sr: Array) -> None:
        rows, columns = box.slices
        alpha = None if self._alpha is None else self._alpha[rows, columns]
        images.quantize(to_numpy(sr), alpha, self._pixels[rows, columns])

    def write_alpha(self, box: Box, sr: Array) -> None:
        assert self._alpha is not None
        assert self._even is not None
        rows, columns = box.slices
        low_rows, low_columns = (slice(part.start // self._scale, part.stop // self._scale) for part in box.slices)
        even = self._even[low_rows, low_columns].repeat(self._scale, 0).repeat(self._scale, 1)
        np.copyto(self._alpha[rows, columns], to_numpy(sr).mean(axis=2).clip(0, 255), where=~even)

    def picture(self) -> Picture:
        return replace(self._source.picture, pixels=self._pixels)

    def image(self) -> Any:
        given, pixels = self._source.given, self._pixels
        if isinstance(given, np.ndarray):
            flat = pixels[..., 0] if given.ndim == 2 else pixels
            return (flat / np.float64(_SIXTEEN_BITS)).astype(given.dtype) if _is_floating(given) else flat
        flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        if hasattr(given, "getbands"):
            from PIL import Image

            image = Image.fromarray(flat)
            image.info.update(images.pil_info(self.picture()))
            return image
        return flat


class TensorSource:
    """A floating-point torch tensor, (3, H, W) or (1, 3, H, W), in 0..255."""

    def __init__(self, tensor: Any) -> None:
        """Raises InputError for another shape, type or range."""
        shape = tuple(tensor.shape)
        if len(shape) not in (3, 4) or shape[-3] != 3 or 0 in shape or (len(shape) == 4 and shape[0] != 1):
            raise InputError(f"tensor has shape {shape}; pass (3, height, width) or (1, 3, height, width)")
        if not tensor.is_floating_point():
            raise InputError(f"expected a floating-point tensor in 0..255, got {tensor.dtype}")
        least, largest = map(float, tensor.detach().aminmax())  # NaN and infinity are for others to refuse
        beyond = 255 * _ROUNDING
        if math.isfinite(least + largest) and (least < -beyond or largest > 255 + beyond):
            raise InputError(
                f"tensor has values in {least:.4g}..{largest:.4g}, but 0..255 is expected; scale or clamp it"
            )
        if 0 < largest <= 1 and bool((tensor.detach().frac() != 0).any()):
            raise InputError(
                f"tensor looks like 0..1 (fractions up to {largest:.4g}), but 0..255 is expected; multiply by 255, or "
                "round if it is that dark"
            )
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

        part, finished = box.of(self._sr), torch.as_tensor(sr)
        if not torch.isfinite(finished).all():
            raise InputError("result contains NaN or infinity; check the weights and the input")
        part.copy_(finished.permute(2, 0, 1).clamp(0, 255))

    def write_alpha(self, box: Box, sr: Array) -> None:
        """Tensors have colour only."""

    def picture(self) -> None:
        """A tensor has no file form."""

    def image(self) -> Any:
        return self._sr
