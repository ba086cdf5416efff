"""Whether the samples of an open file were compressed with loss, by its structure; nothing is decoded.

Files are untrusted: few bytes are read, and a damaged file, which its decoder refuses, raises nothing here.
"""

import io
from collections.abc import Callable
from typing import BinaryIO

from adadsr.formats import InputFormat
from adadsr.images._isoboxes import read_heif_facts
from adadsr.images._jpeg2000 import is_lossy_jpeg2000
from adadsr.images._jxlheaders import is_lossy_jxl
from adadsr.images._tiffcheck import JPEG_2000, JPEG_XL, JPEGS, WEBP, first_segment
from adadsr.images._tiffdir import DAMAGE
from adadsr.images._tiffpages import page_offsets
from adadsr.images._webpchunks import is_lossy_webp

_SEGMENT_BYTES = 4096
_IN_TIFF: dict[int, Callable[[BinaryIO], bool]] = {
    **dict.fromkeys(JPEGS, lambda file: True),
    **dict.fromkeys(JPEG_2000, is_lossy_jpeg2000),
    **dict.fromkeys(JPEG_XL, is_lossy_jxl),
    WEBP: is_lossy_webp,
}
"""By the compression of a TIFF: whether a strip or tile is lossy."""


def lossy_format(content: InputFormat, file: BinaryIO, page: int) -> str | None:
    """Name of the format if it lost something; None if it did not, or does not say. page: of a TIFF, from 1."""
    try:
        if content.codec == "tiff":
            is_lossy = _is_lossy_tiff(file, page)
        else:
            is_lossy = content.codec in _LOSSY and _LOSSY[content.codec](file)
    except DAMAGE:
        return None
    return content.name if is_lossy else None


def _is_lossy_heif(file: BinaryIO) -> bool:
    return not read_heif_facts(file).is_lossless


def _is_lossy_tiff(file: BinaryIO, page: int) -> bool:
    pages = page_offsets(file)
    if page > len(pages):
        return False
    compression, at = first_segment(file, pages[page - 1])
    if compression not in _IN_TIFF:
        return False
    file.seek(at)
    return _IN_TIFF[compression](io.BytesIO(file.read(_SEGMENT_BYTES)))


_LOSSY: dict[str, Callable[[BinaryIO], bool]] = {
    "jpeg": lambda file: True,
    "webp": is_lossy_webp,
    "heif": _is_lossy_heif,
    "heic": _is_lossy_heif,
    "jpeg2000": is_lossy_jpeg2000,
    "jpegxl": is_lossy_jxl,
}
"""By the codec of a format; those that are missing are lossless."""
