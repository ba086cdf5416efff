"""numpy arrays and Pillow images -> Picture. Pillow is optional and never imported here."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from adadsr.errors import InputError
from adadsr.images.metadata import cmyk_to_srgb, fitting_profile, upright_xmp
from adadsr.images.picture import Picture, Pixels, upright
from adadsr.images.vips import image_of

_ORIENTATION_TAG = 0x0112
# Pillow's mode -> the mode that holds the same picture as plain samples
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
    """A picture of an array (H, W) or (H, W, C), C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA; uint8 or uint16.

    The array is copied only where its byte order or layout asks for it.
    Raises InputError for other shapes and types; floating point has no agreed range, so it is refused too.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(f"{type(array).__name__} was given; a numpy array is allowed")
    if array.ndim == 2:
        array = array[..., None]
    return Picture(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def picture_from_pil(image: Any) -> Picture:
    """A picture of a Pillow image, turned upright by its EXIF orientation, with profile, EXIF, XMP and dpi.

    Of an animation the current frame is taken. Raises InputError for modes that are neither gray, RGB, CMYK
    nor a palette (such as F and LAB), and for something else than a Pillow image.
    """
    if not all(hasattr(image, name) for name in ("mode", "size", "info", "convert", "getexif")):
        raise InputError(f"{type(image).__name__} was given; a Pillow image is allowed")
    info, exif = image.info, image.getexif()
    pixels, profile = _pil_pixels(image), info.get("icc_profile")
    if image.mode == "CMYK":
        pixels, profile = _srgb_from_cmyk(pixels, profile), None
    pixels = upright(pixels, exif.get(_ORIENTATION_TAG, 1))
    xmp = info.get("xmp")
    dpi = info.get("dpi")
    return Picture(
        pixels,
        fitting_profile(profile, gray=pixels.shape[2] <= 2),
        info.get("exif") or (exif.tobytes() if len(exif) else None),
        upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp),
        (float(dpi[0]), float(dpi[1])) if dpi else None,
    )


def _pil_pixels(image: Any) -> Pixels:
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        samples = np.asarray(image)
        if samples.min(initial=0) < 0 or samples.max(initial=0) > 65535:
            raise InputError("a Pillow image of mode I with values outside 0..65535 was given; scale it to 16 bits")
        return samples.astype(np.uint16)[..., None]
    if mode == "P":
        target = "RGBA" if "transparency" in image.info else "RGB"
    elif mode in _PIL_MODES:
        target = _PIL_MODES[mode]
        if "transparency" in image.info and target in ("L", "RGB"):
            target = {"L": "LA", "RGB": "RGBA"}[target]
    else:
        known = ", ".join(["P", "I", "I;16", *_PIL_MODES])
        raise InputError(f"a Pillow image of mode {mode} was given; {known} are allowed; convert it")
    samples = np.asarray(image if mode == target else image.convert(target))
    return samples if samples.ndim == 3 else samples[..., None]


def _srgb_from_cmyk(pixels: Pixels, profile: bytes | None) -> Pixels:
    image = image_of(np.ascontiguousarray(pixels), "cmyk")
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    converted: Pixels = cmyk_to_srgb(image).numpy()
    return converted
