"""ICC profiles: whether they fit the pixels, and conversion to sRGB."""

from typing import Any

import pyvips

from adadsr.images._vips import field

LOST_PROFILE = "an ICC profile that is damaged or does not match the channels was left out"
_HEADER_BYTES = 128  # of an ICC profile


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


def profile_notes(found: bytes | None, kept: bytes | None) -> tuple[str, ...]:
    """A note if the profile of a file was not kept."""
    return (LOST_PROFILE,) if found is not None and kept is None else ()


def cmyk_profile(profile: bytes | None) -> bytes | None:
    """`profile` if it describes CMYK."""
    return profile if _color_space(profile) == b"CMYK" else None


def cmyk_to_srgb(image: Any) -> Any:
    """Convert a CMYK vips image (4 bands, or 5 with alpha) to sRGB by its own profile, or libvips' if it has none.

    Returns 3 bands, or 4 with alpha, at the same bit depth, without a profile.
    """
    return _to_srgb(image, cmyk_profile(field(image, "icc-profile-data")), inks=4)


def gray_to_srgb(image: Any, profile: bytes) -> Any:
    """Convert a gray vips image (1 or 2 bands, the second alpha) from `profile` to sRGB at the same bit depth."""
    return _to_srgb(image, profile, inks=1)


def lab_to_srgb(image: Any, offset: bool) -> Any:
    """Convert stored L*a*b* samples (3 bands, or 4 with alpha), 8 or 16 bits, relative to D50, to sRGB.

    offset: whether a* and b* are stored with an offset of a half (TIFF's ICCLAB) instead of as signed numbers (CIELAB).
    """
    image = image.copy_memory()  # each band is read, and the file only once
    deep = image.format == "ushort"
    unit, half = (256, 32768) if deep else (1, 128)
    top = (65280 if offset else 65535) if deep else 255
    planes = [image[0] * (100 / top)]
    for band in (image[1], image[2]):
        signed = band - half if offset else (band < half).ifthenelse(band, band - 2 * half)
        planes.append(signed / unit)
    lab = planes[0].bandjoin(planes[1:]).cast("float").copy(interpretation="lab")
    if lab.get_typeof("icc-profile-data"):
        lab = lab.copy()
        lab.remove("icc-profile-data")
    color = lab.icc_export(output_profile="srgb", depth=16 if deep else 8).copy()
    color.remove("icc-profile-data")
    return color.bandjoin(image[3]) if image.bands > 3 else color


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


def _color_space(profile: bytes | None) -> bytes | None:
    """Data colour space in an ICC header (ICC.1:2022, 7.2): b"RGB ", b"GRAY", b"CMYK"; None if corrupt."""
    if profile is None or len(profile) < _HEADER_BYTES or profile[36:40] != b"acsp":
        return None
    return profile[16:20]
