"""`Upscaled`: the result of one run."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adadsr import images
from adadsr.errors import InputError
from adadsr.images import Picture
from adadsr.upscaler.report import Report


@dataclass(frozen=True, eq=False)
class Upscaled:
    """The result of one run.

    Attributes:
        image: In the form of the input: a tensor (..., 3, s*H, s*W), a Pillow image, or otherwise an array
            (s*H, s*W[, C]) of the type and range that was passed or read. Values are clipped to that range.
        depth_map: Blocks run at each LR pixel, (n_groups, H, W) float32 in 0..n_resblocks.
        report: What was requested and what was executed.
        picture: The image with the metadata of its file; None if the input was a tensor.
    """

    image: Any
    depth_map: npt.NDArray[np.float32]
    report: Report
    picture: Picture | None

    def save(self, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
        """Write the image, with the metadata of its source, in the format of the suffix; see `images.write_image`."""
        images.write_image(path, self._file_picture(), quality=quality)

    def to_bytes(self, format: str, *, quality: int | None = None) -> bytes:
        """The content of the file that `save` would write. format: such as `png`; see `images.encode`."""
        return images.encode(self._file_picture(), format, quality=quality)

    def _file_picture(self) -> Picture:
        if self.picture is None:
            raise InputError("a tensor cannot be saved as a file; pass an array, or convert the result with images")
        return self.picture
