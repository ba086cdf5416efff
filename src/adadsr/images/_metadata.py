"""ICC profiles (whether they fit the pixels; CMYK to sRGB) and XMP."""

import re
from typing import Any

import pyvips

from adadsr.images._vips import field

_HEADER_BYTES = 128  # of an ICC profile
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>))\s*[2-8]""")
_XMP_GAIN_MAP = b"http://ns.adobe.com/hdr-gain-map/"


def fitting_profile(profile: bytes | None, gray: bool) -> bytes | None:
    """`profile` if it describes gray (otherwise RGB) pixels; None if it does not or is corrupt.

    Its length is made to match its header and to be a multiple of 4; libpng refuses to write it otherwise.
    """
    if profile is None or _color_space(profile) != (b"GRAY" if gray else b"RGB "):
        return None
    size = int.from_bytes(profile[:4], "big")
    if not _HEADER_BYTES <= size <= len(profile):
        return None
    if size % 4 == 0:
        return profile[:size]
    padded = size + 4 - size % 4
    return padded.to_bytes(4, "big") + profile[4:size].ljust(padded - 4, b"\0")


def cmyk_to_srgb(image: Any) -> Any:
    """Convert a CMYK vips image (4 bands, or 5 with alpha) to sRGB by its own profile, or libvips' if it has none.

    Returns 3 bands, or 4 with alpha, at the same bit depth, without a profile.
    """
    profile = field(image, "icc-profile-data")
    return _to_srgb(image, profile if _color_space(profile) == b"CMYK" else None, inks=4)


def gray_to_srgb(image: Any, profile: bytes) -> Any:
    """Convert a gray vips image (1 or 2 bands, the second alpha) from `profile` to sRGB at the same bit depth."""
    return _to_srgb(image, profile, inks=1)


def _to_srgb(image: Any, profile: bytes | None, inks: int) -> Any:
    # libvips would rescale alpha along with the colours, so it is set aside.
    color = image.extract_band(0, n=inks) if image.bands > inks else image.copy()
    if profile is not None:
        color.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    elif color.get_typeof("icc-profile-data"):
        color.remove("icc-profile-data")
    depth = 16 if image.format == "ushort" else 8
    color = color.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth).copy()
    color.remove("icc-profile-data")
    return color.bandjoin(image[inks]) if image.bands > inks else color


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """XMP with orientation 1; None if it describes a gain map, which is dropped."""
    if xmp is None or _XMP_GAIN_MAP in xmp:
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _color_space(profile: bytes | None) -> bytes | None:
    """Data colour space in an ICC header (ICC.1:2022, 7.2): b"RGB ", b"GRAY", b"CMYK"; None if corrupt."""
    if profile is None or len(profile) < _HEADER_BYTES or profile[36:40] != b"acsp":
        return None
    return profile[16:20]
