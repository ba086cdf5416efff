"""`Upscaler`: a model that enlarges files, arrays, Pillow images and tensors."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adadsr import checkpoints, images
from adadsr.cost import Cost
from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.images import Picture
from adadsr.models import Network
from adadsr.resize import resize_tensor
from adadsr.sparse.backends import choose_backend, default_backend
from adadsr.sparse.depth import expand_tiles
from adadsr.upscaler.memory import Limits, default_limits, limits_for
from adadsr.upscaler.passes import NotFiniteError, Outcome, Passes
from adadsr.upscaler.report import PRECISIONS, Report, Target

DEPTH_COPIES = 4
"""Maps of the size of the LR image that predicting, calibrating and returning a depth map hold at once."""


@dataclass(frozen=True, eq=False)
class Upscaled:
    """The result of one call.

    image: of the kind that was given: a tensor (..., 3, s*H, s*W), a Pillow image, or else an array (s*H, s*W[, C]) of
        the type that was given or read.
    depth_map: blocks run at each LR pixel, (n_groups, H, W) float32 in 0..n_resblocks.
    report: what was asked for and what was executed.
    picture: the image with the metadata of the file it came from; None where a tensor was given.
    """

    image: Any
    depth_map: npt.NDArray[np.float32]
    report: Report
    picture: Picture | None

    def save(self, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
        """Write the image, with the metadata of its source, in the format of the suffix; see `images.write_image`."""
        if self.picture is None:
            raise InputError("a tensor was upscaled and has no file form; call images.from_tensor or pass an array")
        images.write_image(path, self.picture, quality=quality)


class Upscaler:
    """A network on a device with a backend. Keeps nothing between calls: threads may share one."""

    def __init__(
        self,
        network: Network,
        *,
        name: str = "",
        device: str | torch.device = "cpu",
        backend: str | None = None,
        tile: int | None = None,
        memory: int | None = None,
        precision: str = "float32",
    ) -> None:
        """Takes over the network: it is moved to the device, and set to evaluation.

        backend: a key of `sparse.backends.BACKENDS`, None for the fastest that can run on the device. tile: largest
        side of a tile in LR pixels, None for as large as memory allows. memory: bytes that the process may take, None
        for 1.1 GiB where tiles change nothing and cost little, else 4 GiB. precision: type of body and tail, a key of
        `report.PRECISIONS`; an image whose features leave its range is run again in float32.
        Raises BackendError and InputError.
        """
        if tile is not None and tile < 1:
            raise InputError(f"tile={tile} is not a side in LR pixels; it is at least 1")
        if precision not in PRECISIONS:
            raise InputError(f"precision={precision!r} is not one of {', '.join(PRECISIONS)}")
        self.device, self.precision = _checked_device(device), precision
        network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Network = network.eval()
        self.name, self.tile = name or network.config.kind, tile
        dtype = PRECISIONS[precision]
        self.backend = backend or default_backend(self.device, dtype)
        chosen = choose_backend(self.backend, self.device, dtype)
        self._passes = Passes(self.network, chosen, dtype)
        self._frugal, self.memory = chosen.frugal and self._passes.body.is_local, memory

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        backend: str | None = None,
        tile: int | None = None,
        memory: int | None = None,
        precision: str = "float32",
    ) -> "Upscaler":
        """source: a bundled name such as `adaedsr-baseline-x2`, a checkpoint file, or a Hugging Face id.

        The rest: see the constructor. Raises CheckpointError where there is no such model.
        """
        network, name = checkpoints.load_model(os.fspath(source)), checkpoints.model_name(source)
        return cls(network, name=name, device=device, backend=backend, tile=tile, memory=memory, precision=precision)

    @property
    def scale(self) -> int:
        """How many times wider and higher the result is."""
        return self.network.config.scale

    def __call__(
        self,
        image: Any,
        *,
        depth: float | None = None,
        budget: float | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Enlarge one image; without depth and budget at full depth.

        image: a path, a `Picture`, a Pillow image, an array (H, W) or (H, W, 1..4) of uint8 or uint16, or a floating
            tensor (3, H, W) or (1, 3, H, W) in 0..255.
        depth: desired mean depth, 0..n_resblocks. budget: fraction of the dense network's multiply-accumulates, (0, 1].
        max_pixels: largest file that a path may name.
        progress: called with the share that is done. Raises InputError and ImageFileError.
        """
        target = Target(depth, budget)
        target.check(self.network.config.n_resblocks, adaptive=self.network.adapter is not None)
        if isinstance(image, Tensor):
            return self._upscale_tensor(image, target, progress)
        picture = _as_picture(image, max_pixels)
        result = self._upscale_picture(picture, target, progress)
        assert result.picture is not None
        return Upscaled(_like(image, result.picture), result.depth_map, result.report, result.picture)

    def _upscale_tensor(self, image: Tensor, target: Target, progress: Callable[[float], None]) -> Upscaled:
        lr = image[None] if image.ndim == 3 else image
        if lr.ndim != 4 or lr.shape[:2] != (1, 3) or 0 in lr.shape:
            raise InputError(
                f"a tensor of shape {tuple(image.shape)} was given; (3, height, width) or (1, 3, height, width) "
                "is allowed"
            )
        if not lr.is_floating_point():
            raise InputError(f"a tensor of type {lr.dtype} was given; floating point in 0..255 is allowed")
        sr = lr.new_empty(1, 3, *(size * self.scale for size in lr.shape[-2:]), device=self.device)
        held = (lr.numel() + sr.numel()) * sr.element_size()
        depth_map, report = self._run(lr, target, held, lambda box, part: _paste(sr, box, part), progress)
        return Upscaled(sr[0] if image.ndim == 3 else sr, depth_map, report, None)

    def _upscale_picture(self, picture: Picture, target: Target, progress: Callable[[float], None]) -> Upscaled:
        color, alpha = images.to_tensor(picture)
        size = (picture.height * self.scale, picture.width * self.scale)
        pixels = np.empty((*size, picture.pixels.shape[2]), picture.pixels.dtype)
        large_alpha = None
        if alpha is not None:
            color = images.bleed_color(color, alpha)
            large_alpha = resize_tensor(alpha, self.scale)

        def write(box: Box, sr: Tensor) -> None:
            part_alpha = None if large_alpha is None else box.of(large_alpha)
            part = images.from_tensor(sr, part_alpha, picture).pixels
            pixels[box.top : box.bottom, box.left : box.right] = part

        held = picture.pixels.nbytes + pixels.nbytes + 4 * color.numel()
        held += 0 if large_alpha is None else 4 * large_alpha.numel()
        depth_map, report = self._run(color, target, held, write, progress)
        enlarged = Picture(pixels, picture.icc_profile, picture.exif, picture.xmp, picture.dpi)
        return Upscaled(pixels, depth_map, report, enlarged)

    def _run(
        self,
        lr: Tensor,
        target: Target,
        held: int,
        write: Callable[[Box, Tensor], None],
        progress: Callable[[float], None],
    ) -> tuple[npt.NDArray[np.float32], Report]:
        """held: bytes of input and output, which count against the memory limit."""
        if not bool(torch.isfinite(lr).all()):
            raise InputError("the image holds NaN or inf; finite values in 0..255 are allowed")
        start = time.perf_counter()
        config = self.network.config
        height, width = lr.shape[-2:]
        held += DEPTH_COPIES * 4 * config.n_groups * height * width if self.network.adapter is not None else 0
        held += self._passes.prepared.held
        limits = self._limits(held)
        lr = lr.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        precision = self.precision
        try:
            outcome = self._passes.run(lr, target, limits, write, progress)
        except NotFiniteError:
            precision = "float32"
            outcome = self._full_precision.run(lr, target, limits, write, progress)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        report = self._report(target, outcome, precision, (width, height), seconds)
        return self._pixel_depths(outcome, height, width), report

    def _limits(self, held: int) -> Limits:
        """How large tiles may be beside `held` bytes of images and weights."""
        config, context, copies = self.network.config, self._passes.context, self._passes.copies
        if self.memory is not None:
            return limits_for(config, context, self.memory, held, self.tile, copies)
        return default_limits(config, context, held, self.tile, copies, frugal=self._frugal)

    @cached_property
    def _full_precision(self) -> Passes:
        """What runs an image again that half precision could not hold; made when there is one."""
        return Passes(self.network, choose_backend(self.backend, self.device))

    def _pixel_depths(self, outcome: Outcome, height: int, width: int) -> npt.NDArray[np.float32]:
        config = self.network.config
        if outcome.depth_map is None:
            return np.full((config.n_groups, height, width), config.n_resblocks, np.float32)
        depths = expand_tiles(outcome.depth_map, config.depth_tile, height, width)[0]
        return depths.clamp(0, config.n_resblocks).cpu().numpy()

    def _report(
        self, target: Target, outcome: Outcome, precision: str, size: tuple[int, int], seconds: float
    ) -> Report:
        return Report(
            model=self.name,
            backend=self.backend,
            device=str(self.device),
            scale=self.scale,
            input_size=size,
            output_size=(size[0] * self.scale, size[1] * self.scale),
            requested_depth=target.depth,
            requested_budget=target.budget,
            requested_precision=self.precision,
            precision=precision,
            achieved_budget=outcome.achieved_budget,
            mean_depth=outcome.mean_depth,
            executed_gmacs=outcome.executed.total / 1e9,
            dense_gmacs=outcome.dense.total / 1e9,
            parts=_gmacs(outcome.executed),
            tiles=outcome.tiles,
            exact=outcome.exact,
            seconds=seconds,
        )


def _gmacs(cost: Cost) -> dict[str, float]:
    return {name: getattr(cost, name) / 1e9 for name in ("head", "adapter", "body", "tail")}


def _paste(sr: Tensor, box: Box, part: Tensor) -> None:
    box.of(sr).copy_(part)


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(f"device {str(device)!r} cannot be used here ({reason}); `cpu` always can") from error
    return chosen


def _as_picture(image: Any, max_pixels: int) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, str | os.PathLike):
        return images.read_image(image, max_pixels=max_pixels)
    if isinstance(image, np.ndarray):
        return images.picture_from_array(image)
    if hasattr(image, "getbands"):
        return images.picture_from_pil(image)
    raise InputError(f"{type(image).__name__} was given; a path, array, Pillow image or tensor is allowed")


def _like(image: Any, picture: Picture) -> Any:
    """The pixels of `picture` in the form of `image`."""
    pixels = picture.pixels
    if isinstance(image, np.ndarray):
        return pixels[..., 0] if image.ndim == 2 else pixels
    if isinstance(image, str | os.PathLike | Picture):
        return pixels[..., 0] if pixels.shape[2] == 1 else pixels
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
