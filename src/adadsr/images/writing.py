"""Picture -> file. The file appears under its name whole or not at all."""

import os
from typing import Any, BinaryIO

import numpy as np
import pyvips

from adadsr import atomic
from adadsr.errors import ImageFileError, InputError
from adadsr.images.formats import AVIF, JPEG, PNG, TIFF, WEBP, Format, format_for_writing
from adadsr.images.metadata import fitting_profile, gray_to_srgb
from adadsr.images.picture import Picture, Pixels
from adadsr.images.tiffexif import append_tiff_exif
from adadsr.images.vips import MM_PER_INCH, image_of, reason

_MIN_EXIF_BYTES = 8  # the header of the TIFF that an EXIF block is
_DEFAULT_DPI = (72.0, 72.0)
_DEFAULT_QUALITY = {JPEG.name: 95, WEBP.name: 95, AVIF.name: 90}
_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # above it offsets need 64 bits; the margin is for metadata and overhead


def write_image(
    path: str | os.PathLike[str], picture: Picture, *, quality: int | None = None, overwrite: bool = True
) -> None:
    """Write `picture` in the format that the suffix of `path` asks for.

    PNG and TIFF (deflate) are lossless at 8 and 16 bits, whatever the quality. JPEG and WebP hold 8 bits,
    AVIF 8 or 12: 16-bit samples are rounded to the nearest. Gray stays gray in PNG, JPEG and TIFF; WebP and
    AVIF hold it as three equal channels (converted to sRGB where a gray profile is given). XMP over 64 KB is
    left out of JPEG.

    quality: 1..100, by default 95 (JPEG, WebP) and 90 (AVIF). From 90 on JPEG and AVIF keep full chroma
    resolution; 100 makes WebP and AVIF lossless. overwrite: False refuses an existing file.

    The bytes go to a hidden file in the same folder, reach the disk, and then take the name in one step.
    Raises ImageFileError as `check_writable` does, and where writing fails (nothing is left behind then).
    """
    name = os.fspath(path)
    check_writable(
        name,
        picture.height,
        picture.width,
        transparent=picture.is_transparent,
        quality=quality,
        overwrite=overwrite,
    )
    target = format_for_writing(name)
    try:
        with atomic.replacing(name) as hidden, hidden.open("r+b") as file:
            _encode(file, picture, target, quality)
    except pyvips.Error as error:
        raise ImageFileError(_failure(name, reason(error))) from error
    except OSError as error:
        raise ImageFileError(_failure(name, error.strerror or str(error))) from error


def check_writable(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    *,
    transparent: bool = False,
    quality: int | None = None,
    overwrite: bool = True,
) -> None:
    """Say before any long work whether a picture of height x width pixels can be written to `path`.

    Raises InputError for a quality outside 1..100; ImageFileError for an unknown suffix, a size the format
    cannot hold, transparency in JPEG, an existing file with overwrite=False, or a folder that is missing or
    cannot be written to.
    """
    name = os.fspath(path)
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}; 1 (smallest file) to 100 (best) is allowed")
    target = format_for_writing(name)
    if max(height, width) > target.max_side:
        raise ImageFileError(
            f"{name}: {width}x{height} is over the {target.max_side} pixels a side that {target.name} "
            "can hold; write PNG or TIFF"
        )
    if transparent and not target.has_alpha:
        raise ImageFileError(f"{name}: {target.name} cannot hold transparency; write PNG, WebP, TIFF or AVIF")
    final = os.path.realpath(name)
    if os.path.isdir(final):
        raise ImageFileError(f"{name}: this is a folder; give the name of a file")
    if not overwrite and os.path.exists(final):
        raise ImageFileError(f"{name}: the file exists already; pass --overwrite to replace it")
    folder = os.path.dirname(final)
    if not os.path.isdir(folder):
        raise ImageFileError(f"{name}: there is no folder {os.path.dirname(name) or '.'}; create it first")
    try:
        atomic.check_folder(folder)
    except OSError as error:
        raise ImageFileError(_failure(name, error.strerror or str(error))) from error


def _encode(file: BinaryIO, picture: Picture, target: Format, quality: int | None) -> None:
    image = _vips_image(picture, target)
    options = _options(target, quality, picture)
    getattr(image, target.saver)(pyvips.Target.new_to_descriptor(file.fileno()), **options)
    if target is TIFF and picture.exif is not None:
        append_tiff_exif(file, picture.exif, picture.height, picture.width)


def _vips_image(picture: Picture, target: Format) -> Any:
    """A vips image over the samples of `picture` (not copied where the format holds them as they are)."""
    pixels = picture.pixels
    if picture.has_alpha and not target.has_alpha:
        pixels = pixels[..., :-1]  # check_writable has seen that it is opaque
    if picture.bits == 16 and target.bits < 16:
        pixels = _reduced(pixels, target.bits)
    pixels = np.ascontiguousarray(pixels)
    deep = pixels.dtype == np.uint16
    interpretation = {
        (True, False): "b-w",
        (True, True): "grey16",
        (False, False): "srgb",
        (False, True): "rgb16",
    }
    image = image_of(pixels, interpretation[picture.is_gray, deep])
    return _with_metadata(image, picture, target)


def _with_metadata(image: Any, picture: Picture, target: Format) -> Any:
    profile = fitting_profile(picture.icc_profile, gray=picture.is_gray)
    if profile is not None and picture.is_gray and not target.has_gray:
        image, profile = gray_to_srgb(image, profile), None
    exif = picture.exif if len(picture.exif or b"") >= _MIN_EXIF_BYTES else None
    blobs = {"icc-profile-data": profile, "exif-data": exif, "xmp-data": picture.xmp}
    for field, blob in blobs.items():
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, field, blob)
    # Setting the EXIF block made libvips take orientation, resolution and thumbnail from it.
    for field in image.get_fields():
        if field.startswith(("exif-ifd1-", "jpeg-thumbnail")):
            image.remove(field)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    horizontal, vertical = picture.dpi or _DEFAULT_DPI
    return image.copy(xres=horizontal / MM_PER_INCH, yres=vertical / MM_PER_INCH)


def _reduced(pixels: Pixels, bits: int) -> Pixels:
    """16-bit samples rounded to `bits`: 8 as uint8; 12 as the upper bits of uint16, as libvips wants them."""
    top = 2**bits - 1
    reduced = np.empty(pixels.shape, np.uint8 if bits == 8 else np.uint16)
    for row, out in zip(pixels, reduced, strict=True):
        sample = (row.astype(np.uint32) * top + 32767) // 65535
        out[...] = sample if bits == 8 else sample << (16 - bits)
    return reduced


def _options(target: Format, quality: int | None, picture: Picture) -> dict[str, Any]:
    """The saver's options; the efforts keep writing under about a second a megapixel."""
    if target is PNG:
        return {"compression": 6, "filter": "paeth"}
    if target is TIFF:
        large = picture.pixels.nbytes > _CLASSIC_TIFF_BYTES
        return {"compression": "deflate", "predictor": "horizontal", "bigtiff": large}
    quality = _DEFAULT_QUALITY[target.name] if quality is None else quality
    if target is JPEG:
        return {"Q": quality, "optimize_coding": True, "subsample_mode": "off" if quality >= 90 else "on"}
    if target is WEBP:
        if quality == 100:
            return {"lossless": True, "exact": True, "effort": 1}
        return {"Q": quality, "smart_subsample": True, "effort": 4}
    bits = 12 if picture.bits == 16 else 8
    common = {"compression": "av1", "bitdepth": bits, "effort": 2}
    if quality == 100:
        return {**common, "lossless": True}
    return {**common, "Q": quality, "subsample_mode": "off" if quality >= 90 else "on"}


def _failure(name: str, cause: str) -> str:
    return f"{name}: cannot be written ({cause}); check the folder, its permissions and the free space"
