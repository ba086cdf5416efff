"""numpy arrays and Pillow images -> Picture. Pillow is optional and never imported here."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adadsr.errors import InputError
from adadsr.images import _exif, _xmp
from adadsr.images._picture import Extra, Picture, Pixels
from adadsr.images._profiles import cmyk_profile, cmyk_to_srgb, fitting_profile, profile_notes
from adadsr.images._turning import upright
from adadsr.images._vips import image_of, no_warnings

_ORIENTATION_TAG = 0x0112
# Pillow mode -> mode with the same picture as plain samples
_PIL_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "PA": "RGBA",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "CMYK": "CMYK",
}


def picture_from_array(array: npt.NDArray[Any]) -> Picture:
    """Use an array as a picture; it is copied only if its byte order or layout requires it.

    Args:
        array: (H, W) or (H, W, C) uint8 or uint16; C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.

    Raises:
        InputError: another shape or type. Floating point is refused too, since it has no agreed range.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(f"expected a numpy array, got {type(array).__name__}")
    if array.ndim == 2:
        array = array[..., None]
    return Picture(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


@no_warnings()
def picture_from_pil(image: Any) -> Picture:
    """Convert a Pillow image, turned upright by its EXIF orientation, with ICC profile, EXIF, XMP and dpi.

    Args:
        image: a gray, RGB, CMYK or palette image; the current frame of an animation.

    Raises:
        InputError: another mode, such as F or LAB, or not a Pillow image.
    """
    if not all(hasattr(image, name) for name in ("mode", "size", "info", "convert", "getexif")):
        raise InputError(f"expected a Pillow image, got {type(image).__name__}")
    info, exif = image.info, image.getexif()
    pixels, profile = _pil_pixels(image), info.get("icc_profile")
    if image.mode == "CMYK":
        fitting, used = None, cmyk_profile(profile)
        pixels = _srgb_from_cmyk(pixels, used)
    else:
        fitting = used = fitting_profile(profile, gray=pixels.shape[2] <= 2)
    pixels = upright(pixels, exif.get(_ORIENTATION_TAG, 1))
    xmp, dpi = info.get("xmp"), info.get("dpi")
    block = info.get("exif") or (exif.tobytes() if len(exif) else None)
    packet = _xmp.cleaned(xmp.encode() if isinstance(xmp, str) else xmp, exif.get(_ORIENTATION_TAG), image.size)
    return Picture(
        pixels,
        fitting,
        _exif.cleaned(block, image.size),
        packet.xmp,
        (float(dpi[0]), float(dpi[1])) if dpi else None,
        Extra(described_size=(pixels.shape[1], pixels.shape[0])),
        (*packet.notes, *profile_notes(profile, used)),
    )


def _pil_pixels(image: Any) -> Pixels:
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        samples = np.asarray(image)
        if samples.min(initial=0) < 0 or samples.max(initial=0) > 65535:
            raise InputError("Pillow image of mode I has values outside 0..65535; scale it to 16 bits")
        return samples.astype(np.uint16)[..., None]
    if mode == "P":
        target = "RGBA" if "transparency" in image.info else "RGB"
    elif mode in _PIL_MODES:
        target = _PIL_MODES[mode]
        if "transparency" in image.info and target in ("L", "RGB"):
            target = {"L": "LA", "RGB": "RGBA"}[target]
    else:
        known = ", ".join(["P", "I", "I;16", *_PIL_MODES])
        raise InputError(f"unsupported Pillow mode {mode}; convert to one of {known}")
    samples = np.asarray(image if mode == target else image.convert(target))
    return samples if samples.ndim == 3 else samples[..., None]


def _srgb_from_cmyk(pixels: Pixels, profile: bytes | None) -> Pixels:
    image = image_of(np.ascontiguousarray(pixels), "cmyk")
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    converted: Pixels = cmyk_to_srgb(image).numpy()
    return converted
