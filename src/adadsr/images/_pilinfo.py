"""Picture -> the metadata of a Pillow image."""

from typing import Any

from adadsr.images import _exif, _xmp
from adadsr.images._picture import Picture
from adadsr.images._tiffdir import EXIF_PREFIX


def pil_info(picture: Picture) -> dict[str, Any]:
    """`info` of a Pillow image with the pixels of `picture`: icc_profile, exif, xmp and dpi, if there are any."""
    after = (picture.width, picture.height)
    before = picture.extra.described_size or after
    exif = _exif.sized(picture.exif, before, after)
    info = {
        "icc_profile": picture.icc_profile,
        "exif": None if exif is None else EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX),
        "xmp": _xmp.sized(picture.xmp, before, after),
        "dpi": picture.dpi,
    }
    return {name: value for name, value in info.items() if value is not None}
