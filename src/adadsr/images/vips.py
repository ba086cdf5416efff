"""libvips as this package sets it up, and its dialect."""

import logging
from typing import Any

import numpy as np
import pyvips

from adadsr.images.picture import Pixels

MM_PER_INCH = 25.4  # libvips counts pixels a millimetre

# Warnings are about metadata that is repaired or left out; what makes a picture unusable is raised.
logging.getLogger("pyvips").setLevel(logging.ERROR)


def image_of(pixels: Pixels, interpretation: str) -> Any:
    """A vips image over C-contiguous samples (H, W, C), which are not copied."""
    height, width, bands = pixels.shape
    sample = "ushort" if pixels.dtype == np.uint16 else "uchar"
    image = pyvips.Image.new_from_memory(pixels.data, width, height, bands, sample)
    return image.copy(interpretation=interpretation)


def reason(error: pyvips.Error) -> str:
    """The last line of a libvips message: the earlier ones belong to probing and to the call itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("unable to call ")]
    return lines[-1] if lines else "libvips gives no reason"
